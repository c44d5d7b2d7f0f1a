"""Results as tables on a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from longclip.evaluation.report_tables import CHANCE, Cell, ResultsTable
from longclip.evaluation.results import EvaluationResult
from longclip.evaluation.side_by_side import results_tables


def print_results(results: Sequence[EvaluationResult]) -> None:
    """A table per collection and task, models below each other, published numbers last."""
    for collection in dict.fromkeys(result.collection for result in results):
        found = [result for result in results if result.collection == collection]
        for table in results_tables({result.name: [result] for result in found}):
            _print_table(table)
        for result in found:
            cut = result.long.truncated if result.long else 0
            if cut:
                print(f"{result.name}: {cut} long texts were cut to {result.context_length} tokens")
        for bad in found[0].bad_images:
            print(f"left out: {bad.reason}")


def _print_table(table: ResultsTable) -> None:
    console = Console()
    console.print(f"[bold]{escape(table.title)}[/] ({table.note})", highlight=False)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("model", overflow="fold")
    for heading in table.columns:
        shown.add_column(heading, justify="right", min_width=len("99.9–99.9"))
    for row in table.rows:
        shown.add_row(row.model, *map(_cell_text, row.cells), style="dim" if row.quoted else None)
    console.print(shown)


def _cell_text(cell: Cell | None) -> str:
    """Percent with its interval, and a star where the first row's model is clearly not as good."""
    if cell is None:
        return "–"
    value = f"{100 * cell.value:.1f}"
    if cell.p is not None and cell.p < CHANCE:
        value += "*"
    if cell.interval is None:
        return value
    low, high = map(_percent, cell.interval)
    return f"{value}\n{low}–{high}"


def _percent(value: float) -> str:
    """With a decimal, but for 100, which would be the only one of five letters."""
    return "100" if value == 1 else f"{100 * value:.1f}"
