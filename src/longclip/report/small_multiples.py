"""Small multiples: charts of one size side by side below one legend, as an SVG file for papers."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from longclip.report.render import render

CHART_WIDTH, CHART_HEIGHT = 440, 280
_GAP = 24
_LEGEND_LINE = 22


def small_multiples(names: Sequence[str], charts: Sequence[Markup], *, columns: int = 2) -> str:
    """Return an SVG that is light, whatever shows it.

    Args:
        names: of series 0, 1 …, which have the same colours in every chart.
        charts: of `CHART_WIDTH` x `CHART_HEIGHT` pixels, row by row.
        columns: charts in a row.
    """
    columns = min(columns, len(charts))
    width = _GAP + columns * (CHART_WIDTH + _GAP)
    legend, top = _legend(names, width)
    return render(
        "small_multiples.svg.j2",
        width=width,
        height=top + math.ceil(len(charts) / columns) * (CHART_HEIGHT + _GAP),
        legend=legend,
        chart_width=CHART_WIDTH,
        chart_height=CHART_HEIGHT,
        charts=[
            (
                _GAP + i % columns * (CHART_WIDTH + _GAP),
                top + i // columns * (CHART_HEIGHT + _GAP),
                chart,
            )
            for i, chart in enumerate(charts)
        ],
    )


def _legend(names: Sequence[str], width: int) -> tuple[list[tuple[int, int, str]], int]:
    """Return where each name stands, in as many lines as they take, and where the rest begins."""
    placed, x, y = [], _GAP, _GAP
    for name in names:
        needed = 30 + 7 * len(name)
        if x > _GAP and x + needed > width - _GAP:
            x, y = _GAP, y + _LEGEND_LINE
        placed.append((x, y, name))
        x += needed
    return placed, y + _LEGEND_LINE
