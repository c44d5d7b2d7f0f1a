"""The curves of training runs on a page, or in a picture, that needs nothing else."""

import importlib.resources
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from longclip._files import write_text
from longclip.errors import UsageError
from longclip.evaluation.chart import marker, swatch
from longclip.evaluation.run_chart import HEIGHT, WIDTH, Curve, Points, curves_chart, smoothed
from longclip.runs.read import (
    Run,
    differing_settings,
    last_metrics,
    metrics_of,
    setting_text,
)

_GAP = 24
_LEGEND_LINE = 22


@dataclass(frozen=True)
class _Series:
    """Runs that differ in their seed alone; they share a colour."""

    name: str
    runs: tuple[Run, ...]


def write_curves(path: Path, runs: Sequence[Run]) -> None:
    """Losses, learning rates and evaluations of `runs`: an .svg, or else a page.

    Raises:
        ValueError: if there is nothing to draw yet.
    """
    draw = curves_svg if path.suffix == ".svg" else curves_page
    write_text(path, draw(runs))


def curves_page(runs: Sequence[Run]) -> str:
    """An HTML page with all curves, the settings that differ and the last metrics."""
    series = _series(runs)
    charts = _charts(series)
    legend = "".join(
        f"<li>{swatch(index)}{escape(one.name)}</li>" for index, one in enumerate(series)
    )
    plots = "\n".join(f'<div class="plot">{chart}</div>' for chart in charts)
    columns = "repeat(auto-fit, minmax(min(100%, 25rem), 1fr))"
    curves = f"""<section>
<p class="note">{_note(series)}</p>
<div class="card chart">
<ul class="legend">{legend}</ul>
<div style="display:grid;gap:1.5rem;grid-template-columns:{columns}">
{plots}
</div>
</div>
</section>"""
    settings = differing_settings(runs)
    rows = {key: list(map(setting_text, values)) for key, values in settings.items()}
    page = importlib.resources.files("longclip.evaluation") / "report.html"
    return Template(page.read_text(encoding="utf-8")).substitute(
        title="Training runs" if len(runs) > 1 else escape(runs[0].name),
        summary=escape(_summary(runs)),
        results="",
        curves=curves,
        probes=_table("Settings that differ", runs, rows) if rows else "",
        confusions="",
        gallery=_table("Where they stand", runs, _standing(runs)),
        provenance="",
    )


def curves_svg(runs: Sequence[Run]) -> str:
    """An SVG file with all curves, for papers and other pages: light, whatever shows it."""
    series = _series(runs)
    charts = _charts(series)
    columns = min(2, len(charts))
    width = _GAP + columns * (WIDTH + _GAP)
    legend, top = _svg_legend(series, width)
    height = top + math.ceil(len(charts) / columns) * (HEIGHT + _GAP)
    placed = "\n".join(
        chart.replace(
            "<svg ",
            f'<svg x="{_GAP + i % columns * (WIDTH + _GAP)}" '
            f'y="{top + i // columns * (HEIGHT + _GAP)}" ',
            1,
        )
        for i, chart in enumerate(charts)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" class="chart" \
viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>
{_light_colours()}
text {{ fill: var(--soft); font: 12.5px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }}
.title {{ fill: var(--ink); }}
.grid {{ stroke: var(--rule); }}
polyline {{ fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }}
</style>
<rect width="100%" height="100%" style="fill:var(--card)"/>
{legend}
{placed}
</svg>
"""


def _charts(series: Sequence[_Series]) -> list[str]:
    runs = [run for one in series for run in one.runs]
    by_pairs = len({run.config["batch_size"] for run in runs}) > 1
    x_label = "pairs seen" if by_pairs else "step"
    losses = [key for key in last_metrics(runs) if key.startswith("loss")]
    if not any(sum(key in run.last for key in losses) > 2 for run in runs):
        losses = losses[:1]  # the only part of a loss is the loss

    def chart(title: str, curve: Callable[[Run, int], Curve | None], unit: str = "") -> str | None:
        found = [curve(run, index) for index, one in enumerate(series) for run in one.runs]
        curves = [one for one in found if one is not None and one.points]
        return curves_chart(title, x_label, curves, unit=unit) if curves else None

    charts = [chart(_title(key), _logged(key, by_pairs, smooth=True)) for key in losses]
    charts.append(chart("learning rate", _logged("lr", by_pairs, smooth=False)))
    charts += [chart(name, _evaluated(name, by_pairs), "%") for name in metrics_of(runs)]
    drawn = [one for one in charts if one is not None]
    if not drawn:
        raise UsageError("there is nothing to draw: none of the runs has written metrics yet")
    return drawn


def _logged(key: str, by_pairs: bool, *, smooth: bool) -> Callable[[Run, int], Curve | None]:
    def curve(run: Run, series: int) -> Curve | None:
        values = [(line["step"], line[key]) for line in run.lines if key in line]
        raw = _drawable(run, values, by_pairs)
        line = smoothed(raw) if smooth else raw
        return Curve(run.name, line, series, raw=raw if line != raw else ())

    return curve


def _evaluated(name: str, by_pairs: bool) -> Callable[[Run, int], Curve | None]:
    def curve(run: Run, series: int) -> Curve | None:
        values = [(float(step), 100 * value) for step, value in run.measured(name)]
        return Curve(run.name, _drawable(run, values, by_pairs), series, dots=True)

    return curve


def _drawable(run: Run, values: Points, by_pairs: bool) -> list[tuple[float, float]]:
    factor = run.config["batch_size"] if by_pairs else 1
    return [(factor * step, value) for step, value in values if math.isfinite(value)]


def _title(key: str) -> str:
    part = key.removeprefix("loss").strip("_")
    return f"loss, {part} part" if part else "loss"


def _series(runs: Sequence[Run]) -> list[_Series]:
    alike: dict[str, list[Run]] = {}
    for run in runs:
        settings = {k: v for k, v in run.config.items() if k not in ("seed", "out")}
        alike.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    return [_Series(_series_name(found), tuple(found)) for found in alike.values()]


def _series_name(runs: Sequence[Run]) -> str:
    """What their names are but for a number at the end, or all of them."""
    names = [run.name for run in runs]
    if len(runs) == 1:
        return names[0]
    common = {re.sub(r"[-_./]*\d+$", "", name) for name in names}
    return f"{common.pop()} ({len(runs)} runs)" if len(common) == 1 else ", ".join(names)


def _note(series: Sequence[_Series]) -> str:
    notes = ["Where a loss is noisy, the strong line is a mean over a 25th of the run."]
    if any(len(one.runs) > 1 for one in series):
        notes.append("Runs that differ in their seed alone share a colour.")
    return " ".join(notes)


def _summary(runs: Sequence[Run]) -> str:
    states = [run.state for run in runs]
    count = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    return f"{len(runs)} run{'s' * (len(runs) > 1)}: {count}."


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


def _table(title: str, runs: Sequence[Run], rows: dict[str, list[str]]) -> str:
    heads = "".join(f'<th scope="col">{escape(run.name)}</th>' for run in runs)
    body = "\n".join(
        f'<tr><th scope="row">{escape(key)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for key, cells in rows.items()
    )
    return f"""<section>
<h2>{title}</h2>
<div class="card"><div class="scroll"><table style="white-space:nowrap">
<thead><tr><th scope="col">run</th>{heads}</tr></thead>
<tbody>
{body}
</tbody>
</table></div></div>
</section>"""


def _svg_legend(series: Sequence[_Series], width: int) -> tuple[str, int]:
    """Signs and names, in as many lines as they take, and where the room below begins."""
    parts, x, y = [], _GAP, _GAP
    for index, one in enumerate(series):
        room = 30 + 7 * len(one.name)
        if x > _GAP and x + room > width - _GAP:
            x, y = _GAP, y + _LEGEND_LINE
        parts += [
            marker(index, x + 6, y),
            f'<text x="{x + 18}" y="{y + 4}">{escape(one.name)}</text>',
        ]
        x += room
    return "\n".join(parts), y + _LEGEND_LINE


def _light_colours() -> str:
    """The page's own."""
    page = (importlib.resources.files("longclip.evaluation") / "report.html").read_text(
        encoding="utf-8"
    )
    found = re.search(r":root \{.*?\}", page, re.DOTALL)
    assert found, "the page defines its colours"
    return found[0]
