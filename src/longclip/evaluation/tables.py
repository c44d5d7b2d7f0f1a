"""Tables of results: models below each other, with intervals, comparisons and quoted rows.

Results as tables on a terminal, as CSV for spreadsheets and as LaTeX for papers.
"""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from longclip.errors import UsageError
from longclip.evaluation.benchmarks import PUBLISHED
from longclip.evaluation.results import EvaluationResult, TextRetrieval
from longclip.evaluation.stats import Interval, bootstrap_top1, compare_recall, compare_top1

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

    @property
    def percent(self) -> float:
        """The value as it is shown: in percent, to one decimal."""
        return round(100 * self.value, 1)

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

    def is_best(self, row: Row, column: int) -> bool:
        """Return whether no other measured model shows more in that column, and there is one."""
        cell = row.cells[column]
        others = (
            other.cells[column] for other in self.rows if other is not row and not other.quoted
        )
        rivals = [rival.percent for rival in others if rival is not None]
        return self.ranked and cell is not None and bool(rivals) and cell.percent >= max(rivals)


_DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
_KS = (1, 5, 10)


def results_tables(results: Mapping[str, Sequence[EvaluationResult]]) -> tuple[ResultsTable, ...]:
    """Long retrieval, short retrieval and zero-shot tables, as far as there is something to tell.

    `results` maps the name of a model, the one to compare with first, to its results on one
    collection: a single one, with its intervals and how it compares with the first model, or one
    per seed, of which mean and spread are shown. Published numbers of a benchmark come below.

    Raises:
        ValueError: where they do not come from the same pools of images and texts.
    """
    everything = [result for runs in results.values() for result in runs]
    if not everything or not all(results.values()):
        raise UsageError("a table needs one result or more for each model")
    pools = {_pools(result) for result in everything}
    if len(pools) > 1:
        differing = "; and ".join(sorted(pools))
        raise UsageError(
            f"models can only be compared on the same images and texts, not on {differing}"
        )
    first, tables = everything[0], []
    if first.long:
        long = {model: [run.long for run in runs if run.long] for model, runs in results.items()}
        tables.append(_retrieval_table(first, "long descriptions", long))
    if first.short:
        short = {model: [run.short for run in runs if run.short] for model, runs in results.items()}
        tables.append(_retrieval_table(first, "short captions", short))
    if first.zero_shot:
        tables.append(_zero_shot_table(first, results))
    return tuple(tables)


def _pools(result: EvaluationResult) -> str:
    parts = [f"{result.collection}: {result.images} images {result.fingerprint}"]
    for kind, part in (("long", result.long), ("short", result.short)):
        if part:
            parts.append(f"{part.recall.texts} {kind} texts of {part.recall.images} images")
    parts += [f"{task} with {zero.classes} classes" for task, zero in result.zero_shot.items()]
    return ", ".join(parts)


def _title(result: EvaluationResult) -> str:
    return result.collection + (" (partial)" if result.partial else "")


def _retrieval_table(
    first: EvaluationResult, kind: str, runs_of: Mapping[str, Sequence[TextRetrieval]]
) -> ResultsTable:
    base = next(iter(runs_of.values()))
    recall = base[0].recall
    ks = [k for k in _KS if k in recall.text_to_image]
    rows = [Row(model, _retrieval_cells(runs, base, ks)) for model, runs in runs_of.items()]
    columns = tuple(f"{words} R@{k}" for words in _DIRECTIONS.values() for k in ks)
    metrics = [f"{direction} R@{k}" for direction in _DIRECTIONS for k in ks]
    return ResultsTable(
        f"{_title(first)}: {kind}",
        f"{recall.images:,} images, {recall.texts:,} texts",
        columns,
        (*rows, *_published(first, metrics)),
    )


def _retrieval_cells(
    runs: Sequence[TextRetrieval], base: Sequence[TextRetrieval], ks: Sequence[int]
) -> tuple[Cell, ...]:
    found = []
    for direction in _DIRECTIONS:
        cells = [Cell.of([getattr(run.recall, direction)[k] for run in runs]) for k in ks]
        if len(runs) == 1:
            intervals = getattr(runs[0].intervals(), direction)
            cells = [_bounded(cell, intervals[k]) for cell, k in zip(cells, ks, strict=True)]
        if _comparable(runs, base):
            compared = compare_recall(base[0].recall, runs[0].recall, base[0].image_of_text)
            p_values = [getattr(compared, direction)[k].p_value for k in ks]
            cells = [replace(cell, p=p) for cell, p in zip(cells, p_values, strict=True)]
        found += cells
    return tuple(found)


def _zero_shot_table(
    first: EvaluationResult, results: Mapping[str, Sequence[EvaluationResult]]
) -> ResultsTable:
    base = next(iter(results.values()))
    tasks = first.zero_shot
    rows = [
        Row(model, tuple(_top1_cell(runs, base, task) for task in tasks))
        for model, runs in results.items()
    ]
    return ResultsTable(
        f"{_title(first)}: zero-shot",
        f"{first.images:,} images; top-1 accuracy among (n) classes",
        tuple(f"{task} ({zero.classes})" for task, zero in tasks.items()),
        (*rows, *_published(first, ["top1"] * len(tasks))),
    )


def _top1_cell(
    runs: Sequence[EvaluationResult], base: Sequence[EvaluationResult], task: str
) -> Cell:
    cell = Cell.of([run.zero_shot[task].accuracy for run in runs])
    if len(runs) == 1:
        cell = _bounded(cell, bootstrap_top1(runs[0].zero_shot[task]))
    if _comparable(runs, base):
        compared = compare_top1(base[0].zero_shot[task], runs[0].zero_shot[task])
        cell = replace(cell, p=compared.mcnemar.p_value)
    return cell


def _comparable(runs: Sequence[object], base: Sequence[object]) -> bool:
    """Whether two models, and not two sets of seeds, are compared."""
    return len(runs) == len(base) == 1 and runs is not base


def _bounded(cell: Cell, interval: Interval) -> Cell:
    return replace(cell, interval=(interval.low, interval.high))


def _published(first: EvaluationResult, metrics: Sequence[str]) -> list[Row]:
    """What others report of a benchmark's whole data, in their own words."""
    if first.partial or not first.protocol:
        return []
    found = []
    for model, numbers in PUBLISHED.get(first.collection, {}).items():
        values = [numbers.metrics.get(metric) for metric in metrics]
        if any(value is not None for value in values):
            cells = tuple(None if value is None else Cell(value / 100) for value in values)
            found.append(Row(f"{model} (published)", cells, quoted=True))
    return found


_CSV_DIRECTIONS = ("text_to_image", "image_to_text")


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
            for direction in _CSV_DIRECTIONS:
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
