"""Separation of embeddings: distances of texts, of images, and between the two."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize

from longclip.errors import UsageError
from longclip.evaluation.ranking import strongest_rivals
from longclip.text.sentences import split_sentences
from longclip.text.tokenizer import clip_tokenizer

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_FIRST_TOKENS = 20

_PAIRS_PER_BLOCK = 8192


@dataclass(frozen=True)
class Cosines:
    """Mean and percentiles of the cosines of `pairs` pairs."""

    pairs: int
    mean: float
    percentiles: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        percentiles = {f"p{p}": value for p, value in self.percentiles.items()}
        return {"pairs": self.pairs, "mean": self.mean, **percentiles}


@dataclass(frozen=True)
class Separation:
    """Cosines between embeddings that should differ, and between those that belong together.

    `text_text`: different texts of different images. Of these, `same_first_tokens` share their
    first 20 tokens and `same_first_sentence` their first sentence: an encoder that stops reading
    early cannot tell them apart. `image_image`: different images. `true_pairs`: each text with
    its own image; `hardest_rivals`: with the nearest other image; `margins`: the first minus the
    second, negative where the rival wins. `modality_gap`: distance of the centroids of all unit
    image and text embeddings (Liang et al. 2022, Mind the Gap). None where there is no such pair.
    """

    text_text: Cosines | None
    same_first_tokens: Cosines | None
    same_first_sentence: Cosines | None
    image_image: Cosines | None
    true_pairs: Cosines
    hardest_rivals: Cosines | None
    margins: Cosines | None
    modality_gap: float

    def to_json(self) -> dict[str, Any]:
        return {
            name: value.to_json() if isinstance(value, Cosines) else value
            for name, value in vars(self).items()
        }


def separation(
    image_embeddings: torch.Tensor,
    texts: Sequence[str],
    text_embeddings: torch.Tensor,
    image_of_text: torch.Tensor,
    *,
    max_pairs: int = 200_000,
    seed: int = 0,
) -> Separation:
    """Measure `Separation`; embeddings and `image_of_text` as in `retrieval_recall`.

    Where a kind has more than `max_pairs` pairs, as many are drawn with replacement, the same
    ones for every model.
    """
    if len(texts) != len(text_embeddings):
        raise UsageError(f"{len(texts)} texts, but {len(text_embeddings)} text embeddings")
    images = normalize(image_embeddings.float(), dim=1)
    text_rows = normalize(text_embeddings.float().to(images.device), dim=1)
    owner = image_of_text.to(images.device)
    same_text = _numbered(texts).to(owner.device)

    def between(rows: torch.Tensor, groups: torch.Tensor) -> Cosines | None:
        a, b = _pairs(groups, max_pairs, seed)
        a, b = a.to(owner.device), b.to(owner.device)
        if rows is text_rows:
            different = (owner[a] != owner[b]) & (same_text[a] != same_text[b])
            a, b = a[different], b[different]
        return _summary(_cosines(rows, a, rows, b))

    def sharing(starts: Sequence[Hashable]) -> Cosines | None:
        return between(text_rows, _numbered(starts))

    each = torch.arange(len(texts), device=owner.device)
    true = _cosines(images, owner, text_rows, each)
    rival = torch.empty(0, dtype=torch.float64)
    if len(images) > 1:
        nearest = strongest_rivals(image_embeddings, text_embeddings, owner)
        rival = _cosines(images, nearest, text_rows, each)
    true_pairs = _summary(true)
    assert true_pairs is not None, "there are texts, or their embeddings would have been refused"
    tokens = clip_tokenizer().encode(texts)
    return Separation(
        text_text=sharing([0] * len(texts)),
        same_first_tokens=sharing([tuple(ids[1:-1][:_FIRST_TOKENS]) for ids in tokens]),
        same_first_sentence=sharing([tuple(split_sentences(text)[:1]) for text in texts]),
        image_image=between(images, torch.zeros(len(images), dtype=torch.int64)),
        true_pairs=true_pairs,
        hardest_rivals=_summary(rival),
        margins=_summary(true - rival) if len(rival) else None,
        modality_gap=float((images.mean(0) - text_rows.mean(0)).norm()),
    )


def _numbered(things: Sequence[Hashable]) -> torch.Tensor:
    """Number things so that equal ones get equal numbers: int64 [N]."""
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(thing, len(numbers)) for thing in things])


def _pairs(groups: torch.Tensor, limit: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pairs of different rows of one group: all of at most `limit`, else a sample."""
    order = groups.argsort(stable=True)
    sizes = torch.bincount(groups)
    pairs_of = sizes * (sizes - 1) // 2
    total = int(pairs_of.sum())
    if total <= limit:
        chosen = torch.arange(total)
    else:
        chosen = torch.randint(total, (limit,), generator=torch.Generator().manual_seed(seed))
    ends = pairs_of.cumsum(0)
    group = torch.searchsorted(ends, chosen, right=True)
    # Pair number p of a group is (a, b) with a < b and p = b(b-1)/2 + a.
    number = chosen - (ends - pairs_of)[group]
    b = ((1 + (1 + 8 * number.double()).sqrt()) / 2).long()
    a = number - b * (b - 1) // 2
    first = (sizes.cumsum(0) - sizes)[group]
    return order[first + a], order[first + b]


def _cosines(
    unit_a: torch.Tensor, a: torch.Tensor, unit_b: torch.Tensor, b: torch.Tensor
) -> torch.Tensor:
    """Return the cosine of row a[i] of one with row b[i] of the other, float64, on the CPU."""
    blocks = zip(torch.split(a, _PAIRS_PER_BLOCK), torch.split(b, _PAIRS_PER_BLOCK), strict=True)
    parts = [torch.linalg.vecdot(unit_a[one], unit_b[other]) for one, other in blocks]
    return torch.cat(parts).double().cpu()


def _summary(cosines: torch.Tensor) -> Cosines | None:
    if not len(cosines):
        return None
    tails = torch.tensor(PERCENTILES, dtype=torch.float64) / 100
    values = torch.quantile(cosines, tails).tolist()
    return Cosines(len(cosines), float(cosines.mean()), dict(zip(PERCENTILES, values, strict=True)))
