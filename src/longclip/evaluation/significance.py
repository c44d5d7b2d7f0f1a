"""Whether one model is really better than another, on the same queries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longclip.errors import UsageError
from longclip.evaluation.bootstrap import (
    Interval,
    hits_per_image,
    percentile_intervals,
    resampled_ratios,
)
from longclip.evaluation.metrics import RetrievalResult
from longclip.evaluation.pools import TextPool
from longclip.evaluation.zero_shot import ZeroShotResult


@dataclass(frozen=True)
class Difference:
    """What `b` has more than `a`, as fractions of 1, with its interval and two-sided p-value.

    The p-value is the share of resamples whose difference is at least as far from the measured
    one as that is from zero, (1 + count) / (1 + resamples): never zero, and never below
    1 / (1 + resamples).
    """

    a: float
    b: float
    interval: Interval
    p_value: float

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.interval.to_json(),
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class RecallComparison:
    """Differences of recall at each k that both models were measured at."""

    resamples: int
    image_to_text: dict[int, Difference]
    text_to_image: dict[int, Difference]

    def to_json(self) -> dict[str, Any]:
        return {
            "resamples": self.resamples,
            "image_to_text": {f"R@{k}": d.to_json() for k, d in self.image_to_text.items()},
            "text_to_image": {f"R@{k}": d.to_json() for k, d in self.text_to_image.items()},
        }


@dataclass(frozen=True)
class McNemar:
    """Queries that only one of two models answers, and how likely chance splits them like that."""

    only_a: int
    only_b: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        return {"only_a": self.only_a, "only_b": self.only_b, "p_value": self.p_value}


@dataclass(frozen=True)
class Top1Comparison:
    """Difference of top-1 accuracy, and McNemar's test on the same images."""

    difference: Difference
    mcnemar: McNemar

    def to_json(self) -> dict[str, Any]:
        return {**self.difference.to_json(), "mcnemar": self.mcnemar.to_json()}


def compare_recall(
    a: RetrievalResult,
    b: RetrievalResult,
    image_of_text: torch.Tensor,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> RecallComparison:
    """Paired bootstrap of the difference of recall: images are drawn, with all their texts.

    `image_of_text`, int64 [M], is that of the one pool both were measured on; `check_same_pool`
    tells whether it is one. Raises ValueError where the pools have different sizes.
    """
    if (a.images, a.texts) != (b.images, b.texts):
        raise UsageError(
            f"these are different pools: {a.images} images and {a.texts} texts against "
            f"{b.images} and {b.texts}; measure both models on the same collection"
        )
    ks = tuple(k for k in a.image_to_text if k in b.image_to_text)
    if not ks:
        raise UsageError(
            f"no common k: recall at {tuple(a.image_to_text)} against {tuple(b.image_to_text)}; "
            "measure both with the same ks"
        )
    hits_a, counts = hits_per_image(a, image_of_text, ks)
    hits_b, _ = hits_per_image(b, image_of_text, ks)
    found = _differences(hits_a, hits_b, counts, level=level, resamples=resamples, seed=seed)
    return RecallComparison(
        resamples=resamples,
        image_to_text=dict(zip(ks, found[: len(ks)], strict=True)),
        text_to_image=dict(zip(ks, found[len(ks) :], strict=True)),
    )


def compare_top1(
    a: ZeroShotResult,
    b: ZeroShotResult,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Top1Comparison:
    """Paired bootstrap and McNemar's exact test of two classifications of the same images."""
    if a.classes != b.classes or not torch.equal(a.targets, b.targets):
        raise UsageError(
            f"these are different tasks: {a.images} images in {a.classes} classes against "
            f"{b.images} in {b.classes}, or other labels; measure both models on the same one"
        )
    right_a, right_b = a.predictions == a.targets, b.predictions == b.targets
    hits_a, hits_b = right_a.double()[:, None], right_b.double()[:, None]
    [difference] = _differences(
        hits_a, hits_b, torch.ones_like(hits_a), level=level, resamples=resamples, seed=seed
    )
    return Top1Comparison(difference, mcnemar(right_a, right_b))


def mcnemar(right_a: torch.Tensor, right_b: torch.Tensor) -> McNemar:
    """McNemar's test (1947) in its exact form: the discordant queries against a fair coin.

    Both are bool [N], for the same N queries, which must be independent: images, or texts of
    which each has an image of its own. Two-sided.
    """
    if right_a.shape != right_b.shape or right_a.ndim != 1:
        raise UsageError(
            f"answers to the same queries are needed, not {list(right_a.shape)} and "
            f"{list(right_b.shape)}"
        )
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n = only_a + only_b
    tail = math.fsum(
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2))
        for i in range(min(only_a, only_b) + 1)
    )
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def check_same_pool(a: TextPool, b: TextPool) -> None:
    """Raises ValueError unless both hold the same texts for the same images, in the same order."""
    if a.image_rows != b.image_rows or not torch.equal(a.image_of_text, b.image_of_text):
        raise UsageError(
            f"the pools pair other images and texts ({len(a.image_rows)} images and "
            f"{len(a.texts)} texts, {len(b.image_rows)} and {len(b.texts)}): "
            "measure both models on the same images"
        )
    for row, (one, other) in enumerate(zip(a.texts, b.texts, strict=True)):
        if one != other:
            raise UsageError(f"the pools differ in text {row}: {one[:60]!r} and {other[:60]!r}")


def _differences(
    hits_a: torch.Tensor,
    hits_b: torch.Tensor,
    counts: torch.Tensor,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Sequence[Difference]:
    """One per column of the hits, float64 [N, K], and of the queries `counts` they are out of."""
    a, b = hits_a.sum(0) / counts.sum(0), hits_b.sum(0) / counts.sum(0)
    measured = (hits_b - hits_a).sum(0) / counts.sum(0)
    drawn = resampled_ratios(hits_b - hits_a, counts, resamples=resamples, seed=seed)
    # Where nothing differs both sides are zero; rounding must not decide there.
    as_far = (drawn - measured).abs() >= measured.abs() - 1e-12
    p_values = (1 + as_far.sum(0)).double() / (1 + resamples)
    intervals = percentile_intervals(measured, drawn, level)
    return [
        Difference(*row)
        for row in zip(a.tolist(), b.tolist(), intervals, p_values.tolist(), strict=True)
    ]
