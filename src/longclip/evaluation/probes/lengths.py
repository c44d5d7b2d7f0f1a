"""Effective length of an encoder: recall against the number of tokens kept of each text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longclip.encoders.encoder import Encoder
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_texts
from longclip.evaluation.ranking import retrieval_recall
from longclip.spec import SPECIAL_TOKENS
from longclip.text.spans import word_spans
from longclip.util.terminal import SILENT, OnProgress

TOKENS_KEPT = (5, 10, 15, 20, 30, 40, 50, 60, 75, 100, 125, 150, 200, 246, 318, 400, 510)

FINAL_SHARE = 0.95
"""Share of the recall that a curve ends with, which its effective length reaches."""

_ROUNDING = 1e-9
"""Difference of recalls that comes of rounding; those that differ at all differ by far more."""


@dataclass(frozen=True)
class LengthCurve:
    """Recall at `k`, as fractions of 1, where each text keeps its first `tokens[i]` tokens.

    These are tokens of CLIP's tokenizer without BOS and EOT, for any encoder, and only whole
    words are kept. `texts_cut[i]` of the texts had more than that.
    """

    k: int
    images: int
    texts: int
    tokens: tuple[int, ...]
    texts_cut: tuple[int, ...]
    image_to_text: tuple[float, ...]
    text_to_image: tuple[float, ...]

    @property
    def effective_length(self) -> int | None:
        """Return the fewest tokens with which recall is `FINAL_SHARE` of what the curve ends with.

        Recall is that from text to image, and the end is the most tokens measured. Between two
        measured lengths recall is taken to change evenly, and the first whole number of tokens is
        told that has enough; nothing is told below the least measured. Where recall ends at 0 there
        is none. A curve that falls again behind that place has reached it all the same.
        """
        if not self.text_to_image[-1]:
            return None
        enough = FINAL_SHARE * self.text_to_image[-1] - _ROUNDING
        lengths = range(self.tokens[0], self.tokens[-1] + 1)
        return next(n for n in lengths if self.text_to_image_at(n) >= enough)

    def text_to_image_at(self, tokens: float) -> float:
        """Return the recall at any number of tokens, on the line between two measured ones."""
        return float(np.interp(tokens, self.tokens, self.text_to_image))

    def to_json(self) -> dict[str, Any]:
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}
        return {**values, "effective_length": self.effective_length}


def recall_by_length(
    encoder: Encoder,
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    *,
    tokens: Sequence[int] = TOKENS_KEPT,
    k: int = 1,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> LengthCurve:
    """Measure the curve behind the "effective length" of the Long-CLIP paper (its introduction).

    `image_embeddings` [N, D] come from the same encoder; `image_of_text`, int64 [M], as in
    `retrieval_recall`. Lengths beyond the encoder's context are left out: the curve ends
    where the model does. Only texts that a further word changes are embedded again.
    """
    limit = encoder.context_length
    kept = tuple(sorted({n for n in tokens if limit is None or n <= limit - SPECIAL_TOKENS}))
    if not kept or kept[0] < 1:
        limited = "" if limit is None else f", some of them at most {limit - SPECIAL_TOKENS}"
        raise UsageError(
            f"tokens must be numbers from 1 up{limited} (what the encoder has room for), "
            f"not {tuple(tokens)}"
        )
    spans = [word_spans(text) for text in texts]
    embeddings = torch.zeros(len(texts), image_embeddings.shape[1])
    ends = [-1] * len(texts)
    cuts, image_to_text, text_to_image = [], [], []
    for n in kept:
        before, ends = ends, [words.read_end(n) for words in spans]
        changed = [i for i, (old, new) in enumerate(zip(before, ends, strict=True)) if old != new]
        if changed:
            cut = [texts[i][: ends[i]] for i in changed]
            stage = f"texts of {n} tokens"
            found = embed_texts(encoder, cut, stage=stage, cache=cache, on_progress=on_progress)
            embeddings[changed] = found.cpu()
        recall = retrieval_recall(image_embeddings, embeddings, image_of_text, ks=(k,))
        cuts.append(sum(end < len(text) for end, text in zip(ends, texts, strict=True)))
        image_to_text.append(recall.image_to_text[k])
        text_to_image.append(recall.text_to_image[k])
    return LengthCurve(
        k=k,
        images=len(image_embeddings),
        texts=len(texts),
        tokens=kept,
        texts_cut=tuple(cuts),
        image_to_text=tuple(image_to_text),
        text_to_image=tuple(text_to_image),
    )


def first_words(text: str, tokens: int) -> str:
    """Return the leading whole words of `text` that make at most `tokens` CLIP tokens.

    BOS and EOT are not counted, and a word is what stands between spaces. The text itself where
    all of it fits; empty where not even its first word does.
    """
    return text[: word_spans(text).read_end(tokens)]


def characters_read(text: str, context_length: int) -> int:
    """Return where an encoder of that context stops reading: `text[:n]`, the words that fit."""
    return len(first_words(text, context_length - SPECIAL_TOKENS))
