"""Leaderboard of one benchmark: published models and measured ones, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longclip.evaluation.benchmarks import PUBLISHED, Benchmark, PublishedNumbers
from longclip.evaluation.benchmarks.published import BOTH_WAYS, TOP_1, mean_of_both

if TYPE_CHECKING:
    from longclip.evaluation.results import EvaluationResult

ORDER = "mean of image-to-text and text-to-image R@1"
"""What a leaderboard of retrieval is ordered by, in words."""


@dataclass(frozen=True)
class LeaderboardRow:
    """A model's numbers in percent; `published` is None where they were measured here."""

    model: str
    metrics: dict[str, float]
    published: PublishedNumbers | None = None

    @property
    def mean(self) -> float | None:
        """Return what rows are ordered by; None where a direction is missing."""
        return self.metrics.get(TOP_1, mean_of_both(self.metrics))

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "model": self.model,
            "measured": self.published is None,
            "mean": self.mean,
            **self.metrics,
        }
        return found | (self.published.to_json() if self.published else {})


@dataclass(frozen=True)
class Leaderboard:
    """Rows, best first, and why some results are not among them: a sentence for each.

    Models of which one direction is known come below those of which both are.
    """

    benchmark: str
    rows: tuple[LeaderboardRow, ...]
    refused: tuple[str, ...] = ()

    @property
    def has_mean(self) -> bool:
        """Return whether it is ordered by the mean of two directions, and not by one number."""
        return set(BOTH_WAYS) <= set(self.metrics)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that any row has, R@1 first."""
        known = dict.fromkeys(metric for row in self.rows for metric in row.metrics)
        first = [way for way in BOTH_WAYS if way in known]
        return (*first, *(metric for metric in known if metric not in first))


def leaderboard(benchmark: Benchmark, results: "Sequence[EvaluationResult]" = ()) -> Leaderboard:
    """Put measured results in their places among what is published of a benchmark.

    A result stands there only if it was measured by the benchmark's protocol as it is now, on all
    of its data. Of results on other data nothing is said, as long as one is on this.
    """
    rows = [
        LeaderboardRow(model, numbers.metrics, numbers)
        for model, numbers in PUBLISHED.get(benchmark.name, {}).items()
    ]
    known = {metric for row in rows for metric in row.metrics}
    refused = []
    own = [result for result in results if result.collection == benchmark.name]
    for result in own or results:
        reason = reason_against(benchmark, result)
        if reason:
            refused.append(f"{result.name} is not in the table: {reason}")
            continue
        metrics = percentages(benchmark, result)
        shown = {key: value for key, value in metrics.items() if not known or key in known}
        rows.append(LeaderboardRow(result.name, shown))

    def place(row: LeaderboardRow) -> tuple[bool, float]:
        mean = row.mean
        return mean is not None, mean if mean is not None else max(row.metrics.values())

    return Leaderboard(benchmark.name, tuple(sorted(rows, key=place, reverse=True)), tuple(refused))


def reason_against(benchmark: Benchmark, result: "EvaluationResult") -> str:
    """Return why a result does not belong beside the published ones; empty where it does."""
    if result.collection != benchmark.name:
        return f"it was measured on {result.collection}, not on {benchmark.name}"
    if not result.protocol:
        return f"it was measured on data called {benchmark.name}, not by the benchmark's protocol"
    if result.protocol != benchmark.protocol:
        return "it was measured by another protocol; measure again with this version"
    if result.partial:
        return "it was measured on a part of the data that the protocol asks for"
    if benchmark.task == "choice":
        asked = [one.questions for one in result.choices.values()]
        if benchmark.exact and asked != [benchmark.questions]:
            found = ", ".join(f"{number:,}" for number in asked) or "no"
            return f"it has {found} questions, the benchmark {benchmark.questions:,}"
        return "" if len(asked) == 1 else "it has no result of one set of questions"
    if benchmark.task == "zero-shot":
        pools = [(one.images, one.classes) for one in result.zero_shot.values()]
        expected, kind = (benchmark.images, benchmark.classes), "classes"
    else:
        part = result.long if benchmark.task == "long" else result.short
        pools = [(part.recall.images, part.recall.texts)] if part else []
        expected, kind = (benchmark.images, benchmark.texts), "texts"
    if len(pools) != 1:
        return f"it has no result of one {benchmark.task} task"
    if benchmark.exact and pools[0] != expected:
        found, wanted = (f"{i:,} images and {n:,} {kind}" for i, n in (pools[0], expected))
        return f"its pool is {found}, the benchmark's {wanted}"
    return ""


def percentages(benchmark: Benchmark, result: "EvaluationResult") -> dict[str, float]:
    """Return what a benchmark is reported by, in percent, under the names of `PUBLISHED`."""
    if benchmark.task == "choice":
        [answers] = result.choices.values()
        return {score: 100 * share for score, share in answers.scores.items()}
    if benchmark.task == "zero-shot":
        [found] = result.zero_shot.values()
        return {TOP_1: 100 * found.accuracy}
    part = result.long if benchmark.task == "long" else result.short
    assert part is not None, "a result without it has been refused"
    return {
        f"{way} R@{k}": 100 * value
        for way in (both.removesuffix(" R@1") for both in BOTH_WAYS)
        for k, value in getattr(part.recall, way).items()
    }
