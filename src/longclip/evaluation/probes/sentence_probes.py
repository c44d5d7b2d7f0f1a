"""Probes of sentences: recall without one, in another order, with the first alone."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from longclip.encoders.encoder import Encoder
from longclip.errors import UsageError
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.embed import embed_texts
from longclip.evaluation.ranking import RetrievalResult, retrieval_recall
from longclip.text.sentences import split_sentences
from longclip.util.terminal import SILENT, OnProgress


@dataclass(frozen=True)
class Probe:
    """Recall at k with `texts_changed` of the texts changed and the others left whole.

    `changed_text_to_image` is text-to-image recall among the changed texts alone, and
    `changed_text_to_image_whole` what the same texts reach unchanged; None where there are none.
    """

    texts_changed: int
    image_to_text: float
    text_to_image: float
    changed_text_to_image: float | None
    changed_text_to_image_whole: float | None

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class SentenceProbes:
    """Worth of each sentence to recall at `k`.

    Texts of fewer than two sentences, `texts_of_one_sentence`, are whole in every probe.
    `without_nth[p]` lacks sentence p + 1 of each text that has it. `without_at[b]` lacks one
    sentence of every text, the one nearest to the relative position `positions[b]`, from 0 for
    the first to 1 for the last. `shuffled[s]` has the sentences in the order of `seeds[s]`.
    """

    k: int
    images: int
    texts: int
    texts_of_one_sentence: int
    whole: Probe
    without_nth: tuple[Probe, ...]
    positions: tuple[float, ...]
    without_at: tuple[Probe, ...]
    only_first: Probe
    seeds: tuple[int, ...]
    shuffled: tuple[Probe, ...]

    @property
    def without_first(self) -> Probe:
        return self.without_at[0]

    @property
    def without_last(self) -> Probe:
        return self.without_at[-1]

    @property
    def shuffled_image_to_text(self) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        return _mean_and_spread([probe.image_to_text for probe in self.shuffled])

    @property
    def shuffled_text_to_image(self) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        return _mean_and_spread([probe.text_to_image for probe in self.shuffled])

    def to_json(self) -> dict[str, Any]:
        mean_i2t, spread_i2t = self.shuffled_image_to_text
        mean_t2i, spread_t2i = self.shuffled_text_to_image
        return {
            "k": self.k,
            "images": self.images,
            "texts": self.texts,
            "texts_of_one_sentence": self.texts_of_one_sentence,
            "whole": self.whole.to_json(),
            "without_first": self.without_first.to_json(),
            "without_last": self.without_last.to_json(),
            "without_nth": [probe.to_json() for probe in self.without_nth],
            "positions": list(self.positions),
            "without_at": [probe.to_json() for probe in self.without_at],
            "only_first": self.only_first.to_json(),
            "shuffled": {
                "seeds": list(self.seeds),
                "probes": [probe.to_json() for probe in self.shuffled],
                "image_to_text": {"mean": mean_i2t, "spread": spread_i2t},
                "text_to_image": {"mean": mean_t2i, "spread": spread_t2i},
            },
        }


def sentence_probes(
    encoder: Encoder,
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    image_of_text: torch.Tensor,
    *,
    k: int = 1,
    nth: int = 5,
    bins: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    text_embeddings: torch.Tensor | None = None,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> SentenceProbes:
    """Measure recall of the same pool with sentences taken out, shuffled, or cut to the first.

    Arguments as in `recall_by_length`. `nth`: how many first places are tried one by one, as far
    as there are texts that long; `bins`: of relative position. `text_embeddings` [M, D] spare
    embedding the whole texts again; changed ones that come up in several probes are embedded once.
    """
    if bins < 2 or nth < 1 or not seeds:
        raise UsageError(f"needs bins >= 2, nth >= 1 and seeds, not {bins}, {nth}, {tuple(seeds)}")
    sentences = [split_sentences(text) for text in texts]
    places = min(nth, max(map(len, sentences), default=0))
    positions = tuple(b / (bins - 1) for b in range(bins))
    variants = [
        {},
        _variant(sentences, lambda own: own[:1]),
        *(_variant(sentences, partial(_without, place=p)) for p in range(places)),
        *(_variant(sentences, partial(_without, position=at)) for at in positions),
        *(_variant(sentences, partial(_shuffled, random.Random(seed))) for seed in seeds),
    ]
    embed = partial(embed_texts, encoder, cache=cache, on_progress=on_progress)
    changed = list(dict.fromkeys(text for variant in variants for text in variant.values()))
    row_of: dict[str, torch.Tensor] = {}
    if changed:
        rows = embed(changed, stage="texts with sentences changed").cpu()
        row_of = dict(zip(changed, rows, strict=True))
    if text_embeddings is None:
        text_embeddings = embed(texts, stage="texts")
    pools = (_with_changes(text_embeddings, variant, row_of) for variant in variants)
    recalls = [retrieval_recall(image_embeddings, p, image_of_text, ks=(k,)) for p in pools]
    probes = [_probe(r, recalls[0], v, k) for r, v in zip(recalls, variants, strict=True)]
    without, shuffled = probes[2 : -len(seeds)], probes[-len(seeds) :]
    return SentenceProbes(
        k=k,
        images=len(image_embeddings),
        texts=len(texts),
        texts_of_one_sentence=sum(len(own) < 2 for own in sentences),
        whole=probes[0],
        without_nth=tuple(without[:-bins]),
        positions=positions,
        without_at=tuple(without[-bins:]),
        only_first=probes[1],
        seeds=tuple(seeds),
        shuffled=tuple(shuffled),
    )


_Variant = dict[int, str]
"""Texts that a probe changes, by their place in the pool."""


def _variant(sentences: Sequence[list[str]], change: Callable[[list[str]], list[str]]) -> _Variant:
    changed = {i: change(own) for i, own in enumerate(sentences) if len(own) > 1}
    return {i: " ".join(kept) for i, kept in changed.items() if kept != sentences[i]}


def _without(own: list[str], place: int = 0, position: float | None = None) -> list[str]:
    """Leave out the sentence at a place, or nearest to a relative position from 0 to 1."""
    if position is not None:
        place = int(position * (len(own) - 1) + 0.5)
    return own[:place] + own[place + 1 :]


def _shuffled(generator: random.Random, own: list[str]) -> list[str]:
    order = list(range(len(own)))
    while order == sorted(order):  # the order as it was would measure nothing
        generator.shuffle(order)
    return [own[i] for i in order]


def _with_changes(
    whole: torch.Tensor, variant: _Variant, row_of: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Return embeddings of the whole pool, [M, D], with those of `variant` in their places."""
    if not variant:
        return whole
    pool = whole.clone()
    pool[list(variant)] = torch.stack([row_of[text] for text in variant.values()]).to(pool)
    return pool


def _probe(recall: RetrievalResult, whole: RetrievalResult, changed: _Variant, k: int) -> Probe:
    def among_changed(result: RetrievalResult) -> float | None:
        ranks = result.ranks.text_to_image[list(changed)]
        return (ranks <= k).double().mean().item() if changed else None

    return Probe(
        texts_changed=len(changed),
        image_to_text=recall.image_to_text[k],
        text_to_image=recall.text_to_image[k],
        changed_text_to_image=among_changed(recall),
        changed_text_to_image_whole=among_changed(whole),
    )


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.pstdev(values)
