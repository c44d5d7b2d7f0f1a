"""Probe of monotonicity: whether each true sentence that is appended raises the score."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longclip.encoders.encoder import Encoder
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_as_read
from longclip.evaluation.ranking import paired_cosines
from longclip.text.sentences import split_sentences
from longclip.util.terminal import SILENT, OnProgress

SEGMENTS = (2, 3)
"""K of HiMo@K that papers print."""


@dataclass(frozen=True)
class Monotonicity:
    """Scores (cosines) of images with their texts, read up to the first, the second … sentence.

    Attributes:
        texts: of two sentences or more; others have no part in this. Shares are None without any.
        steps: sentences that were appended, in all of them.
        unchanged: steps that leave the score as it is, because the encoder does not read them.
        not_falling: share of all steps at which the score does not fall, unchanged ones included.
        never_falling: share of the texts at none of whose steps it falls.
        rank_correlation: mean over the texts of Spearman's correlation between the number of
            sentences and the score; 0 for a text whose score never changes.
        himo: HiMo@K by K (Wu et al., HiMo-CLIP, AAAI 2026): share of the texts of K sentences or
            more whose score strictly rises from one to the next of K parts of about equally many
            sentences.
    """

    texts: int
    steps: int
    unchanged: int
    not_falling: float | None
    never_falling: float | None
    rank_correlation: float | None
    himo: dict[int, float | None]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "himo": {str(k): share for k, share in self.himo.items()}}


def monotonicity(
    encoder: Encoder,
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    *,
    n: int = 500,
    seed: int = 0,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> Monotonicity:
    """Measure `Monotonicity` on at most `n` texts, drawn by `seed`.

    Arguments as in `recall_by_length`.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1, not {n}")
    sentences = {i: own for i, t in enumerate(texts) if len(own := split_sentences(t)) > 1}
    chosen = sorted(random.Random(seed).sample(sorted(sentences), min(n, len(sentences))))
    if not chosen:
        return Monotonicity(0, 0, 0, None, None, None, dict.fromkeys(SEGMENTS))
    starts = [" ".join(sentences[i][:k]) for i in chosen for k in range(1, len(sentences[i]) + 1)]
    counts = [len(sentences[i]) for i in chosen]
    embeddings = embed_as_read(
        encoder, starts, stage="texts by sentences", cache=cache, on_progress=on_progress
    )
    owners = image_of_text[chosen].repeat_interleave(torch.tensor(counts))
    cosines = paired_cosines(image_embeddings, owners, embeddings)
    scores = [own_scores.numpy() for own_scores in torch.split(cosines, counts)]
    changes = [np.diff(own_scores) for own_scores in scores]
    kept = [change >= 0 for change in changes]
    return Monotonicity(
        texts=len(chosen),
        steps=sum(map(len, kept)),
        unchanged=sum(int((change == 0).sum()) for change in changes),
        not_falling=float(np.concatenate(kept).mean()),
        never_falling=float(np.mean([steps.all() for steps in kept])),
        rank_correlation=float(np.mean([_spearman(own_scores) for own_scores in scores])),
        himo={k: _himo(scores, k) for k in SEGMENTS},
    )


def _spearman(scores: np.ndarray) -> float:
    """Correlate the ranks of the scores, ties at their mean rank, with their places."""
    _, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    if len(sizes) == 1:
        return 0.0
    return float(np.corrcoef(np.arange(len(scores)), ranks)[0, 1])


def _himo(scores: Sequence[np.ndarray], k: int) -> float | None:
    """Return the share of texts that rise over parts ending with sentence 1·n/k, 2·n/k … n."""
    long = [own for own in scores if len(own) >= k]
    if not long:
        return None
    ends = [[part * len(own) // k - 1 for part in range(1, k + 1)] for own in long]
    return float(np.mean([(np.diff(s[e]) > 0).all() for s, e in zip(long, ends, strict=True)]))
