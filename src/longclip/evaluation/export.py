"""Results as tables on a terminal, as CSV for spreadsheets and as LaTeX for papers."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from longclip.evaluation.results import EvaluationResult
from longclip.evaluation.stats import Interval, bootstrap_top1
from longclip.evaluation.tables import CHANCE, Cell, ResultsTable, results_tables

_DIRECTIONS = ("text_to_image", "image_to_text")


@dataclass(frozen=True)
class Measurement:
    """One number of one model.

    Attributes:
        model: what it was measured on.
        collection: name of the benchmark or data.
        task: `long, text to image` … or `zero-shot, LABELS`.
        metric: R@1 … or top-1.
        value: a fraction of 1; `low` and `high` bound its 95 % interval.
        images: in the pool; `candidates` are its texts, or the classes.
        partial: whether the data was not all that the protocol asks for.
        fingerprint: of the data that was read.
    """

    model: str
    collection: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    images: int
    candidates: int
    partial: bool
    fingerprint: str


def measurements(result: EvaluationResult) -> list[Measurement]:
    """Every recall and accuracy of one result."""
    found = []

    def add(
        task: str,
        metric: str,
        interval: Interval,
        images: int,
        candidates: int,
    ) -> None:
        found.append(
            Measurement(
                model=result.name,
                collection=result.collection,
                task=task,
                metric=metric,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                images=images,
                candidates=candidates,
                partial=result.partial,
                fingerprint=result.fingerprint,
            )
        )

    for kind, part in (("long", result.long), ("short", result.short)):
        if part:
            recall = part.recall
            intervals = part.intervals()
            for direction in _DIRECTIONS:
                task = f"{kind}, {direction.replace('_', ' ')}"
                for k, interval in getattr(intervals, direction).items():
                    add(task, f"R@{k}", interval, recall.images, recall.texts)
    for name, zero in result.zero_shot.items():
        interval = bootstrap_top1(zero)
        add(f"zero-shot, {name}", "top-1", interval, zero.images, zero.classes)
    return found


def as_csv(results: Sequence[EvaluationResult]) -> str:
    """One line per number, fractions of 1, with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in fields(Measurement)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(asdict(row) for result in results for row in measurements(result))
    return text.getvalue()


def as_latex(results: Sequence[EvaluationResult]) -> str:
    """A table with one row per model and one column per number, in percent; the best is bold.

    It needs the package booktabs.
    """
    rows = [row for result in results for row in measurements(result)]
    columns = list(dict.fromkeys((row.collection, row.task, row.metric) for row in rows))
    value = {(row.model, row.collection, row.task, row.metric): row for row in rows}
    models = list(dict.fromkeys(row.model for row in rows))
    lines = [
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\toprule",
        _heading(columns, lambda column: column[0]),
        _heading(columns, lambda column: column[1]),
        " & ".join(["", *(_escaped(column[2]) for column in columns)]) + r" \\",
        r"\midrule",
    ]
    best = {
        column: max(_percent(v.value) for key, v in value.items() if key[1:] == column)
        for column in columns
    }
    for model in models:
        cells = [
            _cell(value.get((model, *column)), best[column], bold=len(models) > 1)
            for column in columns
        ]
        lines.append(" & ".join([_escaped(model), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _heading(
    columns: Sequence[tuple[str, str, str]], part: Callable[[tuple[str, str, str]], str]
) -> str:
    """A line in which neighbours with the same heading share one cell."""
    cells: list[str] = []
    start = 0
    for end in range(1, len(columns) + 1):
        name = (columns[start][0], part(columns[start]))
        if end == len(columns) or (columns[end][0], part(columns[end])) != name:
            cells.append(rf"\multicolumn{{{end - start}}}{{c}}{{{_escaped(name[1])}}}")
            start = end
    return " & ".join(["", *cells]) + r" \\"


def _cell(row: Measurement | None, best: float, *, bold: bool) -> str:
    if row is None:
        return "--"
    shown = _percent(row.value)
    star = "$^*$" if row.partial else ""
    return (rf"\textbf{{{shown:.1f}}}" if bold and shown >= best else f"{shown:.1f}") + star


def _percent(value: float) -> float:
    return round(100 * value, 1)


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


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
    # 100.0 would be the only number of five letters.
    low, high = ("100" if end == 1 else f"{100 * end:.1f}" for end in cell.interval)
    return f"{value}\n{low}–{high}"
