"""Published results, in percent, to be held against: benchmark, then model, then numbers."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Towers = Literal["clip", "clip and more", "other"]
"""How a model computes its scores: by two towers of a plain CLIP, each on its own, and their
cosine; by such towers with parts added to them or after them; by something else."""

BOTH_WAYS = ("image_to_text R@1", "text_to_image R@1")
"""The metrics that a table of retrieval is ordered by: by their mean."""

TOP_1 = "top1"
"""The metric of a table of classification."""


@dataclass(frozen=True)
class PublishedNumbers:
    """What one source says of one model on one benchmark.

    Attributes:
        metrics: in percent, by `image_to_text R@1`, `text_to_image R@1` … or `top1`.
        source: who says so.
        base: the image tower, such as B/16; empty where the source does not say.
        towers: how the model computes its scores.
        remark: what tells these numbers from those of our benchmark, such as other pictures;
            empty where nothing is known to.
        second_hand: whether the source quotes others, whose own words were not at hand.
    """

    metrics: dict[str, float]
    source: str
    base: str = ""
    towers: Towers = "other"
    remark: str = ""
    second_hand: bool = False

    @property
    def reservations(self) -> tuple[str, ...]:
        """Return what to know before these numbers are compared with others; often nothing."""
        return (
            *([self.remark] if self.remark else []),
            *([] if self.base else ["size not stated"]),
            *(["second-hand"] if self.second_hand else []),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the metrics, and beside them what is known of the numbers."""
        facts = {key: value for key, value in vars(self).items() if key != "metrics"}
        return {**self.metrics, **facts}


def mean_of_both(metrics: dict[str, float]) -> float | None:
    """Return the mean R@1 of image to text and text to image; None where one is missing."""
    values = [metrics[way] for way in BOTH_WAYS if way in metrics]
    return sum(values) / len(values) if len(values) == len(BOTH_WAYS) else None


def read_published(text: str) -> dict[str, dict[str, PublishedNumbers]]:
    """Read tables in the form of published.toml, and check them against each other.

    Raises:
        ValueError: names what is unknown, stands twice or is no percentage, and where.
    """
    content = tomllib.loads(text)
    sources, models = content["sources"], content["models"]
    for model, facts in models.items():
        if facts["towers"] not in get_args(Towers) or facts["base"] not in model:
            raise ValueError(f"model {model!r} has unknown towers or another base: {facts}")
    found: dict[str, dict[str, PublishedNumbers]] = {}
    used: set[str] = set()
    for table in content["tables"]:
        benchmark, source = table["benchmark"], table["source"]
        rows = found.setdefault(benchmark, {})
        if source not in sources:
            raise ValueError(f"{benchmark}: no source is called {source!r}")
        used.add(source)
        for model, values in table["rows"].items():
            where = f"{benchmark}, {model}"
            if model not in models:
                raise ValueError(f"{where}: the model is not among [models]")
            if model in rows:
                raise ValueError(f"{where}: stands twice")
            rows[model] = PublishedNumbers(
                _percentages(where, table["metrics"], values),
                sources[source]["words"],
                remark=table.get("remark", ""),
                second_hand=sources[source].get("second_hand", False),
                **models[model],
            )
    placed = {model for rows in found.values() for model in rows}
    unused = (set(sources) - used) | (set(models) - placed)
    if unused:
        raise ValueError(f"no table has {', '.join(sorted(unused))}")
    return found


def _percentages(where: str, metrics: list[str], values: Iterable[Any]) -> dict[str, float]:
    numbers = dict(zip(metrics, values, strict=True))
    for metric, value in numbers.items():
        if not isinstance(value, (int, float)) or not 0 < value < 100:
            raise ValueError(f"{where}: {metric} is {value!r}, no percentage")
    return numbers


PUBLISHED: dict[str, dict[str, PublishedNumbers]] = read_published(
    Path(__file__).with_name("published.toml").read_text(encoding="utf-8")
)
