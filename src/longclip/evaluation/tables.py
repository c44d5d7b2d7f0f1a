"""Tables of results with intervals and comparisons, for a terminal, as CSV and as LaTeX."""

import csv
import functools
import io
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from longclip.errors import UsageError
from longclip.evaluation.benchmarks import BENCHMARKS
from longclip.evaluation.choices import ChoiceResult
from longclip.evaluation.leaderboard import leaderboard
from longclip.evaluation.probes.lengths import FINAL_SHARE
from longclip.evaluation.results import EvaluationResult, TextRetrieval
from longclip.evaluation.stats import (
    Interval,
    bootstrap_choices,
    bootstrap_top1,
    compare_choices,
    compare_recall,
    compare_top1,
)

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
        """Return the value as it is shown: in percent, to one decimal."""
        return round(100 * self.value, 1)

    @classmethod
    def of(
        cls, values: Sequence[float], interval: Interval | None = None, p: float | None = None
    ) -> "Cell":
        """Return the mean of one value per run."""
        return cls(
            statistics.fmean(values),
            len(values),
            statistics.stdev(values) if len(values) > 1 else 0.0,
            (interval.low, interval.high) if interval else None,
            p,
        )


@dataclass(frozen=True)
class Row:
    """Cells of one model; None where nothing is known.

    `quoted` rows hold what others published: they are shown, but not compared.
    """

    model: str
    cells: tuple[Cell | None, ...]
    quoted: bool = False


@dataclass(frozen=True)
class ResultsTable:
    """Table of models, the later ones compared with the first; `note` has the pool sizes.

    The best of a column is marked where a table is `ranked`: where more is better.
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
    """Return tables of long and short retrieval, zero-shot and choices, as far as measured.

    `results` maps the name of a model, the one to compare with first, to its results on one
    collection: a single one, with its intervals and how it compares with the first model, or one
    per seed, of which mean and spread are shown. Published numbers of a benchmark come below.

    Raises:
        ValueError: where they do not come from the same pools of images and texts.
    """
    everything = [result for runs in results.values() for result in runs]
    if not everything or not all(results.values()):
        raise UsageError("a table needs one result or more for each model")

    def pools_of(result: EvaluationResult) -> str:
        parts = [f"{result.collection}: {result.images} images {result.fingerprint}"]
        for kind, part in (("long", result.long), ("short", result.short)):
            if part:
                parts.append(f"{part.recall.texts} {kind} texts of {part.recall.images} images")
        parts += [f"{task} with {zero.classes} classes" for task, zero in result.zero_shot.items()]
        parts += [f"{one.questions} questions" for one in result.choices.values()]
        return ", ".join(parts)

    pools = {pools_of(result) for result in everything}
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
    for name in first.choices:
        own = {model: [run.choices[name] for run in runs] for model, runs in results.items()}
        tables += _choice_tables(first, own)
    return tuple(tables)


def _title(result: EvaluationResult) -> str:
    return result.collection + (" (partial)" if result.partial else "")


def _retrieval_table(
    first: EvaluationResult, kind: str, runs_of: Mapping[str, Sequence[TextRetrieval]]
) -> ResultsTable:
    base = next(iter(runs_of.values()))
    recall = base[0].recall
    ks = [k for k in _KS if k in recall.text_to_image]
    rows = []
    for model, runs in runs_of.items():
        intervals = runs[0].intervals() if len(runs) == 1 else None
        compared = None
        if _comparable(runs, base):
            compared = compare_recall(recall, runs[0].recall, base[0].image_of_text)
        cells = [
            Cell.of(
                [getattr(run.recall, direction)[k] for run in runs],
                getattr(intervals, direction)[k] if intervals else None,
                getattr(compared, direction)[k].p_value if compared else None,
            )
            for direction in _DIRECTIONS
            for k in ks
        ]
        rows.append(Row(model, tuple(cells)))
    return ResultsTable(
        f"{_title(first)}: {kind}",
        f"{recall.images:,} images, {recall.texts:,} texts",
        tuple(f"{words} R@{k}" for words in _DIRECTIONS.values() for k in ks),
        (*rows, *_published(first, [f"{way} R@{k}" for way in _DIRECTIONS for k in ks])),
    )


def _zero_shot_table(
    first: EvaluationResult, results: Mapping[str, Sequence[EvaluationResult]]
) -> ResultsTable:
    base = next(iter(results.values()))
    rows = []
    for model, runs in results.items():
        cells = []
        for task in first.zero_shot:
            found = [run.zero_shot[task] for run in runs]
            interval = bootstrap_top1(found[0]) if len(found) == 1 else None
            p = None
            if _comparable(runs, base):
                p = compare_top1(base[0].zero_shot[task], found[0]).mcnemar.p_value
            cells.append(Cell.of([one.accuracy for one in found], interval, p))
        rows.append(Row(model, tuple(cells)))
    return ResultsTable(
        f"{_title(first)}: zero-shot",
        f"{first.images:,} images; top-1 accuracy among (n) classes",
        tuple(f"{task} ({zero.classes})" for task, zero in first.zero_shot.items()),
        (*rows, *_published(first, ["top1"] * len(first.zero_shot))),
    )


_MOST_CATEGORIES = 8
"""Categories of questions that a table has columns for; `to_json` has all of them."""


def _choice_tables(
    first: EvaluationResult, runs_of: Mapping[str, Sequence[ChoiceResult]]
) -> list[ResultsTable]:
    """Return a table of the scores and, where they are few, one of the categories."""
    base = next(iter(runs_of.values()))
    scores, mean = list(base[0].correct), base[0].mean_of_categories is not None
    rows, of_categories = [], []
    for model, runs in runs_of.items():
        cells = []
        for score in scores:
            interval = bootstrap_choices(runs[0], score) if len(runs) == 1 else None
            p = None
            if _comparable(runs, base):
                p = compare_choices(base[0], runs[0], score).p_value
            cells.append(Cell.of([run.scores[score] for run in runs], interval, p))
        means = [run.mean_of_categories for run in runs]
        of_mean = [Cell.of([value for value in means if value is not None])] if mean else []
        rows.append(Row(model, (*of_mean, *cells)))
        shares = [run.by_category(scores[0]) for run in runs]
        of_categories.append(
            Row(model, tuple(Cell.of([s[c] for s in shares]) for c in base[0].categories))
        )
    guessing = ", ".join(f"{100 * base[0].chance[score]:.0f}" for score in scores)
    tables = [
        ResultsTable(
            f"{_title(first)}: choices",
            f"{base[0].questions:,} questions; guessing gives {guessing}",
            (*(["mean of categories"] if mean else []), *scores),
            tuple(rows),
        )
    ]
    if 1 < len(base[0].categories) <= _MOST_CATEGORIES:
        counts = torch.bincount(base[0].category_of).tolist()
        headings = zip(base[0].categories, counts, strict=True)
        tables.append(
            ResultsTable(
                f"{_title(first)}: {scores[0]} by category",
                "share of (n) questions",
                tuple(f"{name.replace('_', ' ')} ({n:,})" for name, n in headings),
                tuple(of_categories),
            )
        )
    return tables


def _comparable(runs: Sequence[object], base: Sequence[object]) -> bool:
    """Return whether two models, and not two sets of seeds, are compared."""
    return len(runs) == len(base) == 1 and runs is not base


def _published(first: EvaluationResult, metrics: Sequence[str]) -> list[Row]:
    """Return what others report of a benchmark's whole data, as on its leaderboard."""
    if first.partial or not first.protocol or first.collection not in BENCHMARKS:
        return []
    found = []
    for row in leaderboard(BENCHMARKS[first.collection]).rows:
        assert row.published is not None, "no result of ours was put there"
        values = [row.metrics.get(metric) for metric in metrics]
        if any(value is not None for value in values):
            cells = tuple(None if value is None else Cell(value / 100) for value in values)
            words = "; ".join(("published", *row.published.reservations))
            found.append(Row(f"{row.model} ({words})", cells, quoted=True))
    return found


@dataclass(frozen=True)
class Measurement:
    """One number of one model.

    Attributes:
        model: what it was measured on.
        collection: name of the benchmark or data.
        task: `long, text to image` …, `zero-shot, LABELS` or `choice, QUESTIONS`.
        metric: R@1 …, top-1, or the score's name.
        value: a fraction of 1; `low` and `high` bound its 95 % interval.
        images: in the pool; `candidates` are its texts, the classes, or the questions.
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
    """List every recall and accuracy of one result."""
    measured = functools.partial(
        Measurement,
        result.name,
        result.collection,
        partial=result.partial,
        fingerprint=result.fingerprint,
    )
    found = []
    for kind, part in (("long", result.long), ("short", result.short)):
        if part:
            recall, intervals = part.recall, part.intervals()
            for direction in _DIRECTIONS:
                task = f"{kind}, {direction.replace('_', ' ')}"
                for k, i in getattr(intervals, direction).items():
                    pool = recall.images, recall.texts
                    found.append(measured(task, f"R@{k}", i.value, i.low, i.high, *pool))
    for name, zero in result.zero_shot.items():
        i, pool = bootstrap_top1(zero), (zero.images, zero.classes)
        found.append(measured(f"zero-shot, {name}", "top-1", i.value, i.low, i.high, *pool))
    for name, answers in result.choices.items():
        for score in answers.correct:
            i, pool = bootstrap_choices(answers, score), (result.images, answers.questions)
            found.append(measured(f"choice, {name}", score, i.value, i.low, i.high, *pool))
    return found


def as_csv(results: Sequence[EvaluationResult]) -> str:
    """Write one line per number, fractions of 1, below a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in fields(Measurement)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(asdict(row) for result in results for row in measurements(result))
    return text.getvalue()


def as_latex(results: Sequence[EvaluationResult]) -> str:
    """Write a row per model and a column per number, in percent, the best of each in bold.

    It needs the package booktabs.
    """
    rows = [row for result in results for row in measurements(result)]
    columns = list(dict.fromkeys((row.collection, row.task, row.metric) for row in rows))
    row_of = {(row.model, row.collection, row.task, row.metric): row for row in rows}
    models = list(dict.fromkeys(row.model for row in rows))
    lines = [
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\toprule",
        _latex_heading(columns, 0),
        _latex_heading(columns, 1),
        " & ".join(["", *(_latex(metric) for _, _, metric in columns)]) + r" \\",
        r"\midrule",
    ]
    best = {
        column: max(round(100 * row.value, 1) for key, row in row_of.items() if key[1:] == column)
        for column in columns
    }
    for model in models:
        cells = [_latex(model)]
        for column in columns:
            row = row_of.get((model, *column))
            if row is None:
                cells.append("--")
                continue
            shown = round(100 * row.value, 1)
            is_best = len(models) > 1 and shown >= best[column]
            cell = rf"\textbf{{{shown:.1f}}}" if is_best else f"{shown:.1f}"
            cells.append(cell + ("$^*$" if row.partial else ""))
        lines.append(" & ".join(cells) + r" \\")
    lines.append(r"\bottomrule")
    if any(row.partial for row in row_of.values()):
        note = r"$^*$ on a part of the data that the protocol asks for"
        lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{{note}}} \\")
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _latex_heading(columns: Sequence[tuple[str, str, str]], part: int) -> str:
    """Write a line in which neighbours of a collection with the same heading share one cell."""
    names = [(column[0], column[part]) for column in columns]
    cells = [
        rf"\multicolumn{{{len(list(same))}}}{{c}}{{{_latex(name)}}}"
        for (_, name), same in itertools.groupby(names)
    ]
    return " & ".join(["", *cells]) + r" \\"


def _latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


def print_results(results: Sequence[EvaluationResult]) -> None:
    """Print a table per collection and task, models below each other, published numbers last."""
    console = Console()
    for collection in dict.fromkeys(result.collection for result in results):
        found = [result for result in results if result.collection == collection]
        for table in results_tables({result.name: [result] for result in found}):
            console.print(f"[bold]{escape(table.title)}[/] ({table.note})", highlight=False)
            shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
            shown.add_column("model", overflow="fold")
            ranges = any(cell and cell.interval for row in table.rows for cell in row.cells)
            for heading in table.columns:
                width = len("99.9–99.9") if ranges else None
                shown.add_column(heading, justify="right", min_width=width)
            for row in table.rows:
                cells = map(_cell_text, row.cells)
                shown.add_row(row.model, *cells, style="dim" if row.quoted else None)
            console.print(shown)
        _print_effective_lengths(console, found)
        for result in found:
            cut = result.long.truncated if result.long else 0
            if cut:
                print(f"{result.name}: {cut} long texts were cut to {result.context_length} tokens")
        for bad in found[0].bad_images:
            print(f"left out: {bad.reason}")
    star = "; * differs from the first model by more than chance"
    several = len({result.name for result in results}) > 1
    print(f"percent; below each number its 95 % interval{star if several else ''}")


def _print_effective_lengths(console: Console, results: Sequence[EvaluationResult]) -> None:
    """Print how much of long texts each model uses, where that was probed."""
    curves = {r.name: r.long.probes.lengths for r in results if r.long and r.long.probes}
    if not curves:
        return
    [k] = {curve.k for curve in curves.values()}
    recall = f"text → image R@{k}"
    title, share = f"{results[0].collection}: effective length", f"{100 * FINAL_SHARE:.0f} %"
    note = f"tokens that reach {share} of the {recall} with the most tokens"
    console.print(f"[bold]{escape(title)}[/] ({note})", highlight=False)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("model", overflow="fold")
    for heading in ("effective length", "most tokens", f"{recall} there"):
        shown.add_column(heading, justify="right")
    for model, curve in curves.items():
        length = curve.effective_length
        final = f"{100 * curve.text_to_image[-1]:.1f}"
        shown.add_row(model, str(length or "–"), str(curve.tokens[-1]), final)
    console.print(shown)


def _cell_text(cell: Cell | None) -> str:
    """Write percent and interval, and a star where the difference to row one is no chance."""
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
