"""What a run leaves on disk, read with care: others may be writing it, or have died doing so."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG = "config.json"
METRICS = "metrics.jsonl"
MODEL = "model"
CHECKPOINTS = "checkpoints"

_CHECKPOINT = re.compile(r"step-(\d+)")
# What tells the configuration of a run from that of a model or of anything else.
_OF_A_RUN = {"recipe", "batch_size", "lr"}


@dataclass(frozen=True)
class Evaluation:
    """What was measured after `step` steps: fractions of 1 by name."""

    step: int
    values: Mapping[str, float]


@dataclass
class Metrics:
    """Lines of metrics by step, only what is a number, and evaluations likewise.

    `final` is set where the finished model itself was measured; `unreadable` counts lines that
    are none.
    """

    lines: list[Mapping[str, float]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    final: bool = False
    unreadable: int = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """One line; what was there of later steps, and the same of its own, no longer counts."""
        step, measured = int(values["step"]), values.get("evaluation")
        if isinstance(measured, dict):
            self._forget_evaluations(step)
            same = self.evaluations and self.evaluations[-1].step == step
            before = self.evaluations.pop().values if same else {}
            self.evaluations.append(Evaluation(step, {**before, **_numbers(measured)}))
            self.final = values.get("final") is True
            return
        while self.lines and self.lines[-1]["step"] >= step:
            self.lines.pop()
        self._forget_evaluations(step)
        self.lines.append(_numbers(values))
        self.final = False

    def _forget_evaluations(self, after: int) -> None:
        while self.evaluations and self.evaluations[-1].step > after:
            self.evaluations.pop()


def run_config(path: Path) -> Mapping[str, Any] | None:
    """The configuration of the run in a directory; None where there is none."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and config.keys() >= _OF_A_RUN else None


def read_metrics(path: Path) -> Metrics:
    """All there is in a file of metrics; nothing where there is no such file.

    A run that was resumed does steps again whose lines may still be there: the later ones count.
    """
    found = Metrics()
    content = path.read_bytes().splitlines() if path.exists() else []
    for number, text in enumerate(content):
        values = _parsed(text)
        if values is not None:
            found.add(values)
        elif number < len(content) - 1:  # the last one may just be being written
            found.unreadable += 1
    return found


def _parsed(text: bytes) -> Mapping[str, Any] | None:
    try:
        values = json.loads(text)
    except ValueError:
        return None
    known = isinstance(values, dict) and _is_number(values.get("step"))
    return values if known and math.isfinite(values["step"]) else None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in values.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def modified(path: Path) -> float:
    """Seconds since the epoch; 0 where there is no such file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def last_checkpoint(path: Path) -> int | None:
    """Steps in the last whole checkpoint of a run."""
    try:
        names = os.listdir(path / CHECKPOINTS)
    except OSError:
        return None
    steps = [int(found[1]) for name in names if (found := _CHECKPOINT.fullmatch(name))]
    return max(steps, default=None)
