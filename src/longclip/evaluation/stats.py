"""Bootstrap intervals of recall and accuracy, and tests of the difference of two models."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longclip.errors import UsageError
from longclip.evaluation.choices import ChoiceResult
from longclip.evaluation.ranking import BothWays, RetrievalResult, both_ways
from longclip.evaluation.zero_shot import ZeroShotResult

# 16 MB of image numbers.
_DRAWS_PER_BLOCK = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A measured `value` and where it lies in the middle `level` of the resamples."""

    value: float
    low: float
    high: float
    level: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class RecallIntervals(BothWays[Interval]):
    """Intervals of recall at each k, as fractions of 1."""

    resamples: int

    def to_json(self) -> dict[str, Any]:
        return {"resamples": self.resamples, **super().to_json()}


def bootstrap_recall(
    recall: RetrievalResult,
    image_of_text: torch.Tensor,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> RecallIntervals:
    """Compute the percentile bootstrap (Efron 1979) of every recall in `recall`.

    Images are drawn with replacement and take all their texts along, since five captions of one
    picture are not five independent queries. Ranks stay those of the whole pool: the interval is
    about which pictures are asked for, not about a pool of another size. Draws are the same for
    every k, direction and model of the same number of images.

    `image_of_text`, int64 [M], is what the recall was measured with.
    """
    ks = tuple(recall.image_to_text)
    hits, counts = _hits_per_image(recall, image_of_text, ks)
    drawn = resampled_ratios(hits, counts, resamples=resamples, seed=seed)
    intervals = percentile_intervals(hits.sum(0) / counts.sum(0), drawn, level)
    return RecallIntervals(resamples=resamples, **both_ways(ks, intervals))


def bootstrap_top1(
    result: ZeroShotResult, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Compute the percentile bootstrap of top-1 accuracy over images."""
    hits = (result.predictions == result.targets).double()[:, None]
    counts = torch.ones_like(hits)
    drawn = resampled_ratios(hits, counts, resamples=resamples, seed=seed)
    return percentile_intervals(hits.mean(0), drawn, level)[0]


def bootstrap_mean_top1(
    results: Sequence[ZeroShotResult],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute the percentile bootstrap of the mean accuracy in several tasks on the same images.

    An image is drawn with its answers in all tasks, which are not independent.

    Raises:
        UsageError: if the tasks have different numbers of images.
    """
    if len({one.images for one in results}) != 1:
        raise UsageError("the mean of several tasks needs the same images in all of them")
    right = torch.stack([one.predictions == one.targets for one in results], dim=1)
    hits = right.double().mean(1, keepdim=True)
    drawn = resampled_ratios(hits, torch.ones_like(hits), resamples=resamples, seed=seed)
    return percentile_intervals(hits.mean(0), drawn, level)[0]


def bootstrap_choices(
    result: ChoiceResult,
    score: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Compute the percentile bootstrap of one score over pictures, each with all its questions.

    Several questions about one picture are not as many independent ones.
    """
    hits, counts = _right_per_picture(result, score)
    drawn = resampled_ratios(hits, counts, resamples=resamples, seed=seed)
    return percentile_intervals(hits.sum(0) / counts.sum(0), drawn, level)[0]


def _right_per_picture(result: ChoiceResult, score: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Count right answers and questions, float64 [pictures, 1]."""
    _, picture = torch.unique(result.picture_of, return_inverse=True)
    counts = torch.bincount(picture).double()[:, None]
    right = result.correct[score].double()[:, None]
    return torch.zeros_like(counts).index_add_(0, picture, right), counts


def _hits_per_image(
    recall: RetrievalResult, image_of_text: torch.Tensor, ks: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Count hits and queries, float64 [N, 2·len(ks)], of which recall is the ratio of sums.

    The columns are image to text at each k, then text to image at each k: there a row sums over
    the texts of the image.
    """
    image_of_text = image_of_text.cpu()
    if image_of_text.shape != (recall.texts,):
        raise UsageError(
            f"image_of_text is {list(image_of_text.shape)}, but recall was measured on "
            f"{recall.texts} texts: give the pool it was measured on"
        )
    limits = torch.tensor(ks)
    of_images = (recall.ranks.image_to_text.cpu()[:, None] <= limits).double()
    of_texts = (recall.ranks.text_to_image.cpu()[:, None] <= limits).double()
    of_texts = torch.zeros_like(of_images).index_add_(0, image_of_text, of_texts)
    texts = torch.bincount(image_of_text, minlength=recall.images).double()
    queries = torch.ones_like(of_images), texts[:, None].expand_as(of_texts)
    return torch.cat([of_images, of_texts], 1), torch.cat(queries, 1)


def resampled_ratios(
    hits: torch.Tensor, counts: torch.Tensor, *, resamples: int, seed: int
) -> torch.Tensor:
    """Return Σ hits / Σ counts over N rows drawn with replacement, float64 [resamples, K].

    Both are float64 [N, K]. A resample is how often each row was drawn, so all of them together
    are a matrix product.
    """
    if resamples < 100:
        raise UsageError(f"resamples must be at least 100 for an interval, not {resamples}")
    rows = len(hits)
    generator = torch.Generator().manual_seed(seed)
    table, parts = torch.cat([hits, counts], 1), []
    step = max(1, _DRAWS_PER_BLOCK // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = torch.randint(rows, (size, rows), generator=generator)
        drawn += torch.arange(size)[:, None] * rows
        times = torch.bincount(drawn.flatten(), minlength=size * rows).view(size, rows)
        parts.append(times.double() @ table)
    top, bottom = torch.cat(parts).chunk(2, dim=1)
    return top / bottom


def percentile_intervals(
    values: torch.Tensor, drawn: torch.Tensor, level: float
) -> tuple[Interval, ...]:
    """Return an interval for each of `values` [K] from its resamples `drawn` [resamples, K]."""
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, such as 0.95, not {level}")
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(drawn, tails, dim=0).tolist()
    return tuple(
        Interval(*bounds, level) for bounds in zip(values.tolist(), low, high, strict=True)
    )


@dataclass(frozen=True)
class Difference:
    """Gain of `b` over `a`, as fractions of 1, with its interval and two-sided p-value.

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


@dataclass(frozen=True, kw_only=True)
class RecallComparison(BothWays[Difference]):
    """Differences of recall at each k that both models were measured at."""

    resamples: int

    def to_json(self) -> dict[str, Any]:
        return {"resamples": self.resamples, **super().to_json()}


@dataclass(frozen=True)
class McNemar:
    """Queries that only one of two models answers, and the p-value of that split."""

    only_a: int
    only_b: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


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
    """Compute the paired bootstrap of the difference of recall, drawing images with their texts.

    `image_of_text`, int64 [M], is that of the one pool both were measured on.

    Raises:
        ValueError: where the pools have different sizes.
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
    hits_a, counts = _hits_per_image(a, image_of_text, ks)
    hits_b, _ = _hits_per_image(b, image_of_text, ks)
    found = _differences(hits_a, hits_b, counts, level=level, resamples=resamples, seed=seed)
    return RecallComparison(resamples=resamples, **both_ways(ks, found))


def compare_top1(
    a: ZeroShotResult,
    b: ZeroShotResult,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Top1Comparison:
    """Compute the paired bootstrap and McNemar's exact test of two models on the same images."""
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


def compare_choices(
    a: ChoiceResult,
    b: ChoiceResult,
    score: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compute the paired bootstrap of the difference of one score on the same questions.

    Raises:
        UsageError: where they are others.
    """
    if not torch.equal(a.picture_of, b.picture_of) or a.correct.keys() != b.correct.keys():
        raise UsageError(
            f"these are different questions: {a.questions} against {b.questions}, or about other "
            "pictures; measure both models on the same ones"
        )
    hits_a, counts = _right_per_picture(a, score)
    hits_b, _ = _right_per_picture(b, score)
    [found] = _differences(hits_a, hits_b, counts, level=level, resamples=resamples, seed=seed)
    return found


def mcnemar(right_a: torch.Tensor, right_b: torch.Tensor) -> McNemar:
    """Compute McNemar's test (1947) in its exact form: discordant queries against a fair coin.

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


def _differences(
    hits_a: torch.Tensor,
    hits_b: torch.Tensor,
    counts: torch.Tensor,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> list[Difference]:
    """Return one per column of the hits, float64 [N, K], out of as many queries as `counts`."""
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
