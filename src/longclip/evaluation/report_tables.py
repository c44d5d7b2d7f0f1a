"""The tables of a report: models below each other, what was measured side by side."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from longclip.evaluation.chart import colour, swatch

CHANCE = 0.05
"""A p-value from which a difference is taken for chance."""


@dataclass(frozen=True)
class Cell:
    """A fraction of 1, shown in percent.

    `spread`: standard deviation over `runs`, if several. `interval`: 95 % confidence, low and high.
    `p`: of the hypothesis that the first row's model is as good.
    """

    value: float
    runs: int = 1
    spread: float = 0.0
    interval: tuple[float, float] | None = None
    p: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Cell":
        """The mean of one value per run."""
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(statistics.fmean(values), len(values), spread)


@dataclass(frozen=True)
class Row:
    """One model; a cell is None where nothing is known.

    `quoted` rows hold what others published: they are shown, but not compared.
    """

    model: str
    cells: tuple[Cell | None, ...]
    quoted: bool = False


@dataclass(frozen=True)
class ResultsTable:
    """`note` belongs to the title: pool sizes. Later rows are compared with the first one.

    The best of a column is marked where tables are `ranked`: where more is better.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    ranked: bool = True


def tables_html(tables: Sequence[ResultsTable]) -> str:
    """The section with all tables."""
    spread = (
        " ± is one standard deviation over runs with different seeds."
        if any(cell.runs > 1 for cell in _cells(tables))
        else ""
    )
    if any(cell.interval for cell in _cells(tables)):
        spread += " Ranges are 95 % bootstrap intervals over images."
    if any(cell.p is not None for cell in _cells(tables)):
        spread += " p compares with the first row on the same queries;"
        spread += " grey differences may be chance."
    cards = "\n".join(map(table_html, tables))
    return f"""<section>
<h2>Results</h2>
<p class="note">In percent; higher is better. The best of each column is bold; the small figures
are points above or below the first row. R@K: how often the right answer is among the first K of
the pool, by cosine; ties count against the model.{spread}</p>
<div class="tables">
{cards}
</div>
</section>"""


def _cells(tables: Sequence[ResultsTable]) -> list[Cell]:
    return [cell for table in tables for row in table.rows for cell in row.cells if cell]


def table_html(table: ResultsTable) -> str:
    """One table as a card."""
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "\n".join(_row_html(table, index) for index in range(len(table.rows)))
    width = f'style="--columns:{len(table.columns)}"'
    region = f'role="region" tabindex="0" aria-label="{escape(table.title)}"'
    return f"""<div class="card scroll" {width} {region}>
<table>
<caption>{escape(table.title)} <small>{escape(table.note)}</small></caption>
<thead><tr><th scope="col">model</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>"""


def _row_html(table: ResultsTable, index: int) -> str:
    row, first = table.rows[index], table.rows[0]
    if row.quoted:
        return _quoted_html(row)
    cells = []
    for column, cell in enumerate(row.cells):
        if cell is None:
            cells.append("<td>–</td>")
            continue
        rivals = [_shown(other.value) for other in _compared(table, row, column)]
        is_best = table.ranked and bool(rivals) and _shown(cell.value) >= max(rivals)
        base = None if row is first else first.cells[column]
        cells.append(_cell_html(cell, base, is_best, index))
    return f'<tr><th scope="row">{swatch(index)}{escape(row.model)}</th>{"".join(cells)}</tr>'


def _compared(table: ResultsTable, row: Row, column: int) -> list[Cell]:
    """The other measured models' cells of a column."""
    others = (other.cells[column] for other in table.rows if other is not row and not other.quoted)
    return [cell for cell in others if cell is not None]


def _quoted_html(row: Row) -> str:
    cells = "".join(f"<td>{_shown(c.value):.1f}</td>" if c else "<td>–</td>" for c in row.cells)
    return f'<tr class="quoted"><th scope="row">{escape(row.model)}</th>{cells}</tr>'


def _cell_html(cell: Cell, base: Cell | None, is_best: bool, index: int) -> str:
    value = f"{_shown(cell.value):.1f}"
    value = f"<b>{value}</b>" if is_best else value
    spread = f' <span class="spread">± {100 * cell.spread:.1f}</span>' if cell.runs > 1 else ""
    style = f"width:{100 * cell.value:.1f}%;background:{colour(index)}"
    bar = f'<span class="bar"><i style="{style}"></i></span>'
    interval = _interval_html(cell.interval) if cell.interval else ""
    return f"<td>{value}{spread}{bar}{_delta_html(cell, base) if base else ''}{interval}</td>"


def _interval_html(interval: tuple[float, float]) -> str:
    low, high = (f"{_shown(end):.1f}" for end in interval)
    return f'<small class="interval">{low} – {high}</small>'


def _delta_html(cell: Cell, base: Cell) -> str:
    delta = round(_shown(cell.value) - _shown(base.value), 1)
    p = "" if cell.p is None else f" <span>{_p_text(cell.p)}</span>"
    if delta == 0:
        return "<small>same</small>"
    way, sign = ("up", "+") if delta > 0 else ("down", "−")
    if cell.p is not None and cell.p >= CHANCE:
        way = "even"
    return f'<small class="{way}">{sign}{abs(delta):.1f}{p}</small>'


def _p_text(p: float) -> str:
    return "p &lt; 0.001" if p < 0.001 else f"p = {p:.2g}"


def _shown(value: float) -> float:
    return round(100 * value, 1)
