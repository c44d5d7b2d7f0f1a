"""A table as dots with intervals: a panel for each column, in each of them a line for each row."""

from html import escape

from markupsafe import Markup

from longclip.evaluation.tables import Cell, ResultsTable
from longclip.report.chart import Scale, colour, marker, short_number

_LINE = 26
_TITLE, _AXIS = 34, 30
_GAP = 22
# Half of the number under the last tick stands beyond it.
_RIGHT = 8
_MIN_TICK_PIXELS = 44


def interval_chart(table: ResultsTable, *, width: int, names: int, across: int) -> Markup:
    """Return an `<svg>` of `width` CSS pixels; every panel has a scale of its own.

    A dot is the value of a cell, in percent; the line through it is its 95 % interval or, of
    several runs, one standard deviation to either side. The first row's value is drawn through the
    whole panel, since that is what the others are held against.

    Args:
        table: what is drawn; quoted rows are left out.
        width: of all, in CSS pixels.
        names: of that, the pixels for the names of the rows, which stand before the first panel
            of each line of panels.
        across: panels beside each other.
    """
    rows = [row for row in table.rows if not row.quoted]
    tall = _TITLE + _LINE * len(rows) + _AXIS
    panel_width = (width - names - _RIGHT - _GAP * (across - 1)) / across
    parts = []
    for column, title in enumerate(table.columns):
        line, place = divmod(column, across)
        top = line * tall
        if place == 0:
            parts += [
                f'<text x="18" y="{top + _TITLE + _LINE * (i + 0.5) + 4:.1f}">{escape(row.model)}'
                f"</text>{marker(i, 8, top + _TITLE + _LINE * (i + 0.5))}"
                for i, row in enumerate(rows)
            ]
        start = names + place * (panel_width + _GAP)
        cells = [row.cells[column] for row in rows]
        parts.append(_panel(title, cells, start, start + panel_width, top))
    height = tall * -(-len(table.columns) // across)
    label = f"{table.title}: {', '.join(table.columns)}; {', '.join(row.model for row in rows)}"
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">' + "\n".join(parts) + "</svg>"
    )


def _panel(title: str, cells: list[Cell | None], start: float, end: float, top: float) -> str:
    spans = [_span(cell) for cell in cells if cell]
    x = Scale.of(
        min((low for low, _ in spans), default=0.0),
        max((high for _, high in spans), default=100.0),
        start + 6,
        end - 6,
        tick=_MIN_TICK_PIXELS,
        whole=True,
    )
    first, last = top + _TITLE, top + _TITLE + _LINE * len(cells)
    parts = [f'<text class="title" x="{start:.1f}" y="{top + 16}">{escape(title)}</text>']
    for value in x.ticks():
        at = f"{x(value):.1f}"
        parts += [
            f'<line class="grid" x1="{at}" x2="{at}" y1="{first}" y2="{last}"/>',
            f'<text x="{at}" y="{last + 17}" text-anchor="middle">{short_number(value)}</text>',
        ]
    if cells[0]:
        at = f"{x(cells[0].percent):.1f}"
        parts.append(f'<line class="mark" x1="{at}" x2="{at}" y1="{first}" y2="{last}"/>')
    for i, cell in enumerate(cells):
        if cell is None:
            continue
        y, (low, high) = first + _LINE * (i + 0.5), _span(cell)
        says = f"{cell.percent:.1f} % ({low:.1f} to {high:.1f})"
        parts.append(
            f"<g><title>{says}</title>"
            f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" '
            f'style="stroke:{colour(i)};stroke-width:2.25;stroke-linecap:round"/>'
            f"{marker(i, x(cell.percent), y)}</g>"
        )
    return "".join(parts)


def _span(cell: Cell) -> tuple[float, float]:
    """Return the ends of a cell's line, in percent."""
    if cell.interval:
        return 100 * cell.interval[0], 100 * cell.interval[1]
    return 100 * (cell.value - cell.spread), 100 * (cell.value + cell.spread)
