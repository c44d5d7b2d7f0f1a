"""Files of a training run: their names, and what is in them.

Files are read with care: others may be writing them, or have died doing so.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longclip.errors import CheckpointError, UsageError
from longclip.runs.writer import WRITER
from longclip.util.sealed_json import read_sealed

CONFIG = "config.json"
METRICS = "metrics.jsonl"
DATA = "data.json"
MODEL = "model"
BEST = "best"
NEIGHBOURS = "neighbours"
CHECKPOINTS = "checkpoints"
TOKENIZER = "tokenizer"
CHECKPOINT_PREFIX = "step-"
CHECKPOINT_STATE = "state.json"

# Settings that the configuration of a run has and that of a model has not.
_KEYS_OF_A_RUN = {"recipe", "batch_size", "lr"}


@dataclass(frozen=True)
class Evaluation:
    """Results after `step` steps: fractions of 1 by name."""

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
        """Add a line; those of later steps, and of the same one, no longer count."""
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


def unchecked_config(path: Path) -> Mapping[str, Any] | None:
    """Return what the config.json of a run holds, be it damaged; None where it is of no run."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return config if isinstance(config, dict) and config.keys() >= _KEYS_OF_A_RUN else None


def holds_run(path: Path) -> bool:
    """Return whether a directory holds a run, be its configuration damaged."""
    if unchecked_config(path) is not None:
        return True
    return (path / WRITER).exists() or last_checkpoint(path) is not None


def read_metrics(path: Path) -> Metrics:
    """Read a file of metrics; nothing where there is no such file.

    A run that was resumed does steps again whose lines may still be there: the later ones count.
    """
    found = Metrics()
    content = path.read_bytes().splitlines() if path.is_file() else []
    for number, text in enumerate(content):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        known = isinstance(values, dict) and is_number(values.get("step"))
        if known and math.isfinite(values["step"]):
            found.add(values)
        elif number < len(content) - 1:  # the last one may just be being written
            found.unreadable += 1
    return found


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in values.items() if is_number(value)}


def is_number(value: object) -> bool:
    """Return whether a value of JSON is a number, which in Python true and false are as well."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def run_checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints in a run's folder of them, oldest first; one under way has a dot."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    finished = re.compile(rf"{CHECKPOINT_PREFIX}(\d+)")
    return sorted(directory / name for name in names if finished.fullmatch(name))


def last_checkpoint(path: Path) -> int | None:
    """Return the steps in the last checkpoint of a run."""
    found = run_checkpoints(path / CHECKPOINTS)
    return int(found[-1].name.removeprefix(CHECKPOINT_PREFIX)) if found else None


def read_run_config(path: Path) -> tuple[dict[str, Any], str]:
    """Read the configuration that a run was started with.

    Returns:
        The configuration, and what is wrong with its file where it had to be taken from a
        checkpoint, each of which has a copy; else an empty text.

    Raises:
        UsageError: if there is no run.
        CheckpointError: if it is damaged and there is no copy.
    """
    try:
        return read_sealed(path / CONFIG), ""
    except FileNotFoundError:
        damage = f"{path / CONFIG} is missing"
        if not holds_run(path):
            raise UsageError(f"{path} holds no run to resume; leave out --resume") from None
    except CheckpointError as error:
        damage = str(error)
    for checkpoint in reversed(run_checkpoints(path / CHECKPOINTS)):
        with suppress(OSError, CheckpointError):
            config = read_sealed(checkpoint / CHECKPOINT_STATE)["config"]
            return config, f"{damage}; its copy in {checkpoint} is used"
    raise CheckpointError(
        f"{damage}, and no checkpoint has a copy of it; start anew with --overwrite"
    )
