"""Curves of training runs on a page, or in a picture, that needs nothing else."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from longclip.errors import UsageError
from longclip.report.chart import Curve, Points, line_chart, smoothed
from longclip.report.render import render
from longclip.report.small_multiples import CHART_HEIGHT, CHART_WIDTH, small_multiples
from longclip.runs.run import Run, differing_settings, last_metrics, metrics_of, setting_text
from longclip.util.files import write_text

_PAIRS, _SHARE = "pairs seen", "% of the run"
_MAX_LENGTH_RATIO = 5


@dataclass(frozen=True)
class _Series:
    """Runs that differ in their seed alone; they share a colour."""

    name: str
    runs: tuple[Run, ...]


def write_curves(path: Path, runs: Sequence[Run]) -> None:
    """Draw losses, learning rates and evaluations of `runs`: an .svg, or else a page.

    Raises:
        ValueError: if there is nothing to draw yet.
    """
    draw = curves_svg if path.suffix == ".svg" else curves_page
    write_text(path, draw(runs))


def curves_page(runs: Sequence[Run]) -> str:
    """Return an HTML page with all curves, the settings that differ and the last metrics."""
    series = _series(runs)
    settings = differing_settings(runs)
    states = [run.state for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return render(
        "runs.html.j2",
        title="Training runs" if len(runs) > 1 else runs[0].name,
        summary=f"{len(runs)} run{'s' * (len(runs) > 1)}: {counts}.",
        seeds_share_colours=any(len(one.runs) > 1 for one in series),
        series=[one.name for one in series],
        charts=_charts(series),
        runs=[run.name for run in runs],
        tables={
            "Settings that differ": {
                key: [setting_text(value, key) for value in values]
                for key, values in settings.items()
            },
            "Where they stand": _standing(runs),
        },
    )


def curves_svg(runs: Sequence[Run]) -> str:
    """Return an SVG file with all curves, for papers: light, whatever shows it."""
    series = _series(runs)
    return small_multiples([one.name for one in series], _charts(series))


def _charts(series: Sequence[_Series]) -> list[Markup]:
    runs = [run for one in series for run in one.runs]
    x_label = _common_axis(runs)
    losses = [key for key in last_metrics(runs) if key.startswith("loss")]
    if not any(sum(key in run.last for key in losses) > 2 for run in runs):
        losses = losses[:1]  # the only part of a loss is the loss

    def chart(
        title: str, curve: Callable[[Run, int], Curve | None], *, percent: bool = False
    ) -> Markup | None:
        found = [curve(run, index) for index, one in enumerate(series) for run in one.runs]
        curves = [one for one in found if one is not None and one.points]
        if not curves:
            return None
        return line_chart(
            title, x_label, curves, width=CHART_WIDTH, height=CHART_HEIGHT, percent=percent
        )

    charts = []
    for key in losses:
        part = key.removeprefix("loss").strip("_")
        title = f"loss, {part} part" if part else "loss"
        charts.append(chart(title, _logged(key, x_label, smooth=True)))
    charts.append(chart("learning rate", _logged("lr", x_label, smooth=False)))
    for name in metrics_of(runs):

        def measured(run: Run, index: int, name: str = name) -> Curve:
            values = [(float(step), 100 * value) for step, value in run.measured(name)]
            return Curve(run.name, _drawable(run, values, x_label), index, dots=True)

        charts.append(chart(name, measured, percent=True))
    drawn = [one for one in charts if one is not None]
    if not drawn:
        raise UsageError("there is nothing to draw: none of the runs has written metrics yet")
    return drawn


def _common_axis(runs: Sequence[Run]) -> str:
    """Say what runs are drawn against: one that is far longer than most must not squeeze them."""
    lengths = sorted(max(run.step, 1) for run in runs)
    if lengths[-1] > _MAX_LENGTH_RATIO * lengths[(len(lengths) - 1) // 2]:
        return _SHARE
    return _PAIRS if len({_batch_size(run) for run in runs}) > 1 else "step"


def _logged(key: str, x_label: str, *, smooth: bool) -> Callable[[Run, int], Curve | None]:
    def curve(run: Run, series: int) -> Curve | None:
        values = [(line["step"], line[key]) for line in run.lines if key in line]
        raw = _drawable(run, values, x_label)
        line = smoothed(raw) if smooth else raw
        return Curve(run.name, line, series, raw=raw if line != raw else ())

    return curve


def _batch_size(run: Run) -> float:
    """Return the pairs of a step, also of a run whose configuration is damaged."""
    size, step = run.config.get("batch_size"), run.step
    if isinstance(size, int) and size > 0:
        return size
    return run.last.get("pairs", 0.0) / step if step else 1.0


def _drawable(run: Run, values: Points, x_label: str) -> list[tuple[float, float]]:
    factor = {_PAIRS: _batch_size(run), _SHARE: 100 / (run.total_steps or run.step or 1)}.get(
        x_label, 1
    )
    return [(factor * step, value) for step, value in values if math.isfinite(value)]


def _series(runs: Sequence[Run]) -> list[_Series]:
    alike: dict[str, list[Run]] = {}
    for run in runs:
        settings = {k: v for k, v in run.config.items() if k not in ("seed", "out")}
        alike.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    series = []
    for found in alike.values():
        names = [run.name for run in found]
        # Seeds are often numbers at the end of a name.
        common = {re.sub(r"[-_./]*\d+$", "", name) for name in names}
        name = ", ".join(names)
        if len(found) > 1 and len(common) == 1:
            name = f"{common.pop()} ({len(found)} runs)"
        series.append(_Series(name, tuple(found)))
    return series


def _standing(runs: Sequence[Run]) -> dict[str, list[str]]:
    def shown(value: float | None, factor: float = 1) -> str:
        return "–" if value is None else f"{factor * value:.4g}"

    rows: dict[str, list[str]] = {
        "state": [run.state for run in runs],
        "steps": [f"{run.step:,}" for run in runs],
        "pairs/s": [shown(run.pairs_per_second) for run in runs],
        "waiting for data, %": [shown(run.data_wait, 100) for run in runs],
    }
    rows |= {key: [shown(run.last.get(key)) for run in runs] for key in last_metrics(runs)}
    for name in metrics_of(runs):
        last = [dict(run.measured(name)[-1:]) for run in runs]
        rows[f"{name}, %"] = [shown(next(iter(found.values()), None), 100) for found in last]
    return rows
