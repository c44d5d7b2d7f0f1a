"""Tables of runs on a terminal, and runs as JSON."""

import json
import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from longclip.errors import UsageError
from longclip.runs.run import (
    SETTING_WIDTH,
    Run,
    differing_settings,
    duration,
    last_metrics,
    metrics_of,
    setting_text,
)

_STATE_STYLE = {
    "finished": "",
    "running": "green",
    "stopped": "yellow",
    "failed": "red",
    "killed": "red",
}
# A program that reads a pipe wants a run on a line, however long.
_PIPE_WIDTH = 200


def print_runs(runs: Sequence[Run], metric: str | None = None) -> None:
    """Print a line per run, then notes on single ones.

    Raises:
        ValueError: if no run has measured `metric`.
    """
    measured = metrics_of(runs)
    shown = metric if metric is not None else next(iter(measured), None)
    if shown is not None and shown not in measured:
        near = get_close_matches(shown, measured, n=1) or measured
        known = f"there is {', '.join(map(repr, near))}" if near else "they were not evaluated"
        raise UsageError(f"--metric {shown!r}: none of these runs has measured it; {known}")
    going = any(run.state == "running" for run in runs)
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("run", overflow="fold")
    table.add_column("state")
    table.add_column("recipe")
    optional = [shown] if shown else []
    for heading in ("steps", "loss", *map(escape, optional), "pairs/s", "data wait", "time"):
        table.add_column(heading, justify="right")
    if going:
        table.add_column("left", justify="right")
    for run in runs:
        table.add_row(*map(escape, _row(run, shown, going)), style=_STATE_STYLE[run.state])
    console.print(table)
    for run in runs:
        for note in run.notes:
            console.print(f"{run.name}: {note}", markup=False, highlight=False, soft_wrap=True)
    others = [name for name in measured if name != shown]
    if others:
        line = f"also measured (--metric): {'; '.join(others)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_comparison(runs: Sequence[Run]) -> None:
    """Print the settings that differ and the last metrics, runs side by side."""
    console = _console()
    rows = list(_comparison(runs))
    label_width = max((len(label) for label, _ in rows), default=0)
    for start, end in _blocks(runs, rows, console.width - label_width):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("")
        for run in runs[start:end]:
            table.add_column(
                escape(run.name), justify="right", overflow="fold", max_width=SETTING_WIDTH
            )
        for label, cells in rows:
            if cells:
                table.add_row(escape(label), *map(escape, cells[start:end]))
            else:
                table.add_section()
                table.add_row(f"[bold]{escape(label)}[/]")
        console.print(table)


def as_json(runs: Sequence[Run]) -> str:
    """Write runs with all settings, last metrics and evaluations; NaN and infinities as null."""
    listed = []
    for run in runs:
        values = {
            "name": run.name,
            "path": str(run.path),
            "state": run.state,
            "notes": list(run.notes),
            "step": run.step,
            "total_steps": run.total_steps,
            "checkpoint": run.checkpoint,
            "seconds": run.seconds,
            "seconds_left": run.seconds_left,
            "silent_seconds": run.silent_seconds,
            "pairs_per_second": run.pairs_per_second,
            "data_wait": run.data_wait,
            "last": dict(run.last),
            "evaluation": {
                name: {
                    "last": dict(zip(("step", "value"), run.measured(name)[-1], strict=True)),
                    "best": dict(zip(("step", "value"), run.best(name) or (), strict=True)),
                }
                for name in metrics_of([run])
            },
            "config": dict(run.config),
        }
        listed.append(_finite(values))
    return json.dumps(listed, indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(run: Run, metric: str | None, going: bool) -> list[str]:
    rate, wait, left = run.pairs_per_second, run.data_wait, run.seconds_left
    total = "?" if run.total_steps is None else f"{run.total_steps:,}"
    cells = [
        run.name,
        run.state,
        str(run.config.get("recipe", "–")),
        f"{run.step:,}" if run.step == run.total_steps else f"{run.step:,} of {total}",
        f"{run.last['loss']:.3f}" if "loss" in run.last else "–",
    ]
    if metric is not None:
        cells.append(_evaluation_cell(run, metric))
    cells += [
        "–" if rate is None else f"{rate:,.0f}",
        "–" if wait is None else f"{100 * wait:.1f}%",
        duration(run.seconds),
    ]
    return [*cells, "" if left is None else duration(left)] if going else cells


def _evaluation_cell(run: Run, metric: str) -> str:
    """Write the last value, and the best one with its step where that was earlier."""
    measured, best = run.measured(metric), run.best(metric)
    if not measured or best is None:
        return "–"
    value = measured[-1][1]
    last = f"{100 * value:.1f}"
    return last if best[1] <= value else f"{last}\nbest {100 * best[1]:.1f} at {best[0]:,}"


def _comparison(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    """Give labels with a cell per run; a label without cells is a heading."""
    settings = differing_settings(runs)
    yield ("settings that differ" if settings else "no settings differ"), []
    for key, values in settings.items():
        yield key, [setting_text(value, key) for value in values]
    yield "at the last step", []
    yield "state", [run.state for run in runs]
    for key in last_metrics(runs):
        yield key, [_number(run.last.get(key)) for run in runs]
    yield "pairs/s", [_number(run.pairs_per_second) for run in runs]
    yield (
        "data wait, %",
        [_number(None if (w := run.data_wait) is None else 100 * w) for run in runs],
    )
    measured = metrics_of(runs)
    if measured:
        yield "evaluation, %", []
    for name in measured:
        yield name, [_evaluation_cell(run, name) for run in runs]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _blocks(
    runs: Sequence[Run], rows: Sequence[tuple[str, list[str]]], width: int
) -> Iterator[tuple[int, int]]:
    """Give ranges of runs that fit side by side, at least one each."""
    widths = []
    for i, run in enumerate(runs):
        lines = [line for _, cells in rows if cells for line in cells[i].split("\n")]
        widths.append(min(SETTING_WIDTH, max(map(len, [run.name, *lines]))) + 2)
    start, used = 0, 0
    for i, own in enumerate(widths):
        if i > start and used + own > width:
            yield start, i
            start, used = i, 0
        used += own
    yield start, len(runs)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)
