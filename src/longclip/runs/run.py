"""A training run as its files stand: its state, its pace, its settings and what it has measured."""

import math
import os
import re
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from longclip.errors import CheckpointError, UsageError
from longclip.runs.run_files import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    MODEL,
    Evaluation,
    holds_run,
    last_checkpoint,
    read_metrics,
    read_run_config,
    unchecked_config,
)
from longclip.runs.writer import Writer, writer_state
from longclip.util.sealed_json import SEAL


def _modified(path: Path) -> float:
    """Return when a file was modified, in seconds since the epoch; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


SETTING_WIDTH = 24

State = Literal["finished", "running", "stopped", "failed", "killed"]

# What config.json holds beside them.
_NO_SETTINGS = (SEAL, "content")
_MAX_DEPTH = 4
# A run that writes nothing for so long has ended, or hangs: several times what lies between its
# lines, and never less than an evaluation or the writing of a checkpoint may take.
_MAX_SILENT_LINES = 5
_MAX_SILENT_SECONDS = 180.0
# Opening a large collection and compiling come before the first line.
_MAX_SILENT_SECONDS_AT_START = 900.0
_RECENT_LINES = 20
# Tables have rows of their own for these.
_SHOWN_OTHERWISE = ("step", "total_steps", "seconds", "pairs_per_second", "data_wait_seconds")


@dataclass(frozen=True)
class Run:
    """A run as its files stood when they were read.

    Attributes:
        path: its directory; `name` is what tells it from the runs it was found with.
        state: finished (its model is there); running (its writer lives); stopped (by a signal or
            ^C), failed, or killed, without a chance to say why.
        config: the TrainConfig it was started with.
        lines: of its metrics, by step; only what is a number.
        evaluations: likewise.
        total_steps: how many it is to have; None where it counts by epochs and does not say.
        checkpoint: steps in its last checkpoint; None where it has none.
        silent_seconds: since it last wrote.
        unreadable: lines of its metrics that are none, the last one not counted: it may just be
            being written.
        writer: who writes, or was the last to write; None where that cannot be read.
        damage: what is wrong with its files, and what to do.
    """

    path: Path
    name: str
    state: State
    config: Mapping[str, Any] = field(repr=False)
    lines: tuple[Mapping[str, float], ...] = field(repr=False)
    evaluations: tuple[Evaluation, ...] = field(repr=False)
    total_steps: int | None
    checkpoint: int | None
    silent_seconds: float
    unreadable: int = 0
    writer: Writer | None = None
    damage: tuple[str, ...] = ()

    @property
    def last(self) -> Mapping[str, float]:
        """Return the last line of metrics; empty before the first."""
        return self.lines[-1] if self.lines else {}

    @property
    def step(self) -> int:
        """Return the steps that are known to be done."""
        return int(self.last.get("step", 0))

    @property
    def seconds(self) -> float:
        """Return the seconds spent in training so far, over all resumptions."""
        return self.last.get("seconds", 0.0)

    @property
    def pairs_per_second(self) -> float | None:
        """Return the rate of a running run lately, of others in all."""
        return self._per_second("pairs")

    @property
    def data_wait(self) -> float | None:
        """Return the share of time in which the device waited for data; None where unknown."""
        waits = [line["data_wait_seconds"] for line in self.lines if "data_wait_seconds" in line]
        return min(1.0, sum(waits) / self.seconds) if waits and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate the rest of a running run, at the pace of its last lines."""
        rate = self._per_second("step")
        if self.state != "running" or self.total_steps is None or not rate:
            return None
        return max(0, self.total_steps - self.step) / rate

    @property
    def notes(self) -> tuple[str, ...]:
        """List what somebody who looks at the run should know."""
        notes = list(self.damage)
        if not math.isfinite(self.last.get("loss", 0.0)):
            notes.append("the loss is no longer a number")
        if self.state == "running" and self.silent_seconds > _max_silence(self.lines):
            silent = f"nothing written for {duration(self.silent_seconds)}"
            notes.append(f"{silent}; {self.writer or 'its process'} lives, but may hang")
        if self.state in ("stopped", "failed", "killed"):
            reason = self.writer.reason if self.writer else ""
            ended = f"{reason or self.state} (last written {duration(self.silent_seconds)} ago)"
            saved = f"--resume goes on from step {self.checkpoint:,}" if self.checkpoint else ""
            notes.append(f"{ended}; {saved or 'there is no checkpoint'}")
        if self.unreadable:
            notes.append(f"{self.unreadable} lines of {METRICS} cannot be read")
        return tuple(notes)

    def measured(self, metric: str) -> list[tuple[int, float]]:
        """Return (step, value) of each evaluation that has `metric`."""
        return [(e.step, e.values[metric]) for e in self.evaluations if metric in e.values]

    def best(self, metric: str) -> tuple[int, float] | None:
        """Return the highest value with its step, the first of equals."""
        return max(self.measured(metric), key=lambda found: found[1], default=None)

    def _per_second(self, count: str) -> float | None:
        lines = [line for line in self.lines if count in line and "seconds" in line]
        first: Mapping[str, float] = {count: 0.0, "seconds": 0.0}
        if self.state == "running" and len(lines) > _RECENT_LINES:
            first = lines[-_RECENT_LINES]
        if not lines or lines[-1]["seconds"] <= first["seconds"]:
            return None
        return (lines[-1][count] - first[count]) / (lines[-1]["seconds"] - first["seconds"])


def find_runs(directories: Sequence[Path]) -> list[Run]:
    """Find all runs in or below directories, in the order of their names, each once.

    Raises:
        ValueError: if a directory is missing, or holds no run.
    """
    paths: dict[Path, Path] = {}
    for directory in directories:
        found = list(_run_directories(directory, _MAX_DEPTH))
        if not found:
            problem = "holds no run" if directory.is_dir() else "is no directory"
            raise UsageError(
                f"{directory} {problem}; name a directory that `longclip train --out` wrote to, or "
                "one above it"
            )
        paths |= {path.resolve(): path for path in found}
    # A run is called by the part of its path below what all have in common.
    common = Path(os.path.commonpath([path.parent for path in paths]))
    runs = [
        read_run(path, name=real.relative_to(common).as_posix()) for real, path in paths.items()
    ]

    def numbers_by_value(run: Run) -> list[tuple[bool, int, str]]:
        """Sort run-9 before run-10."""
        parts = re.split(r"(\d+)", run.name)
        return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]

    return sorted(runs, key=numbers_by_value)


def read_run(path: Path, *, name: str = "", now: float | None = None) -> Run:
    """Read one run; `now`, in seconds since the epoch, is when its files are looked at.

    Raises:
        ValueError: if there is none.
    """
    config, damage = unchecked_config(path), []
    if not holds_run(path):
        raise UsageError(f"{path} holds no run: there is no {CONFIG} of one")
    try:
        sound, problem = read_run_config(path)
        if problem:
            config, damage = sound, [problem]
    except CheckpointError as error:
        damage = [str(error)]
    config = {key: value for key, value in (config or {}).items() if key not in _NO_SETTINGS}
    metrics = read_metrics(path / METRICS)
    last: Mapping[str, float] = metrics.lines[-1] if metrics.lines else {}
    steps = last.get("total_steps") or config.get("steps")
    total = int(steps) if isinstance(steps, int | float) and steps > 0 else None
    done = int(last.get("step", 0))
    at_the_end = metrics.final or (total is not None and done >= total)
    # A directory that was cleared for another run keeps the old model until that one ends.
    model = _modified(path / MODEL / CONFIG)
    written = max(_modified(path / name) for name in (CONFIG, METRICS, CHECKPOINTS))
    silent = (time.time() if now is None else now) - written
    found = writer_state(path)
    writer = found.writer if found is not None else None
    state: State = "stopped"
    if found is not None and found.alive:
        state = "running"
    elif model > 0 and (at_the_end or model >= _modified(path / METRICS)):
        state = "finished"
    elif found is not None and not (writer and writer.outcome):
        state = "killed"
    elif writer is not None and writer.outcome == "failed":
        state = "failed"
    return Run(
        path=path,
        name=name or path.resolve().name,
        state=state,
        config=config,
        lines=tuple(metrics.lines),
        evaluations=tuple(metrics.evaluations),
        total_steps=done if total is None and state == "finished" else total,
        checkpoint=last_checkpoint(path),
        silent_seconds=max(0.0, silent),
        unreadable=metrics.unreadable,
        writer=writer,
        damage=tuple(damage),
    )


def differing_settings(
    runs: Sequence[Run], *, leave_out: Container[str] = ("out",)
) -> dict[str, list[Any]]:
    """Return the settings in which runs differ, each with its value in every run.

    A setting that a run of an older version does not have yet is None there, which alone makes no
    difference.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config if key not in leave_out)
    values = {key: [run.config.get(key) for run in runs] for key in keys}
    return {
        key: own
        for key, own in values.items()
        if any(value != other for value, other in pairwise(v for v in own if v is not None))
    }


def metrics_of(runs: Sequence[Run]) -> list[str]:
    """Name all that was measured, those of most runs first, then in the order of the runs."""
    names = [name for run in runs for e in run.evaluations[-1:] for name in e.values]
    return sorted(dict.fromkeys(names), key=lambda name: -names.count(name))


def last_metrics(runs: Sequence[Run]) -> list[str]:
    """Name the metrics of the last lines of runs, losses first, without those shown otherwise."""
    keys = dict.fromkeys(key for run in runs for key in run.last if key not in _SHOWN_OTHERWISE)
    losses = sorted(key for key in keys if key.startswith("loss"))
    return [*losses, *(key for key in keys if key not in losses)]


def setting_text(value: Any, name: str = "") -> str:
    """Write a setting for tables: not too long, and of a path the end, which says most."""
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "lr" and value == 0:
        return "by batch size"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= SETTING_WIDTH else f"…{text[1 - SETTING_WIDTH :]}"


def duration(seconds: float) -> str:
    """Write seconds for people: 42 s, 3 min, 2 h 05, 3 d 04 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02}" if hours < 24 else f"{hours // 24} d {hours % 24:02} h"


def _run_directories(directory: Path, depth: int) -> Iterator[Path]:
    if holds_run(directory):
        yield directory
        return
    try:
        inner = sorted(child for child in directory.iterdir() if not child.name.startswith("."))
    except OSError:
        return
    for child in inner:
        # A link may lead back up.
        if depth and child.is_dir() and not child.is_symlink():
            yield from _run_directories(child, depth - 1)


def _max_silence(lines: Sequence[Mapping[str, float]]) -> float:
    """Return for how many seconds a running run may have written nothing."""
    if not lines:
        return _MAX_SILENT_SECONDS_AT_START
    recent = [line["seconds"] for line in lines[-_RECENT_LINES:] if "seconds" in line]
    between = (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else sum(recent)
    return max(_MAX_SILENT_SECONDS, _MAX_SILENT_LINES * between)
