"""Which of the paper's constants matter: kept positions, ratio, components and batch.

Every row is the `paper` recipe from nano on drawn scenes with one constant changed, three seeds
each, measured on splits for choosing. What is done already is not done again:

    python benchmarks/constants.py --out runs/constants --figure constants.svg

Batches of other sizes are compared at equally many pairs, and at equally many steps; the
learning rate stays. The ratio follows from the number of tokens: (context − keep) / (77 − keep).
Where the components are as many as the batch has, or as a feature has numbers, matching them is
matching whole features.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import longclip
from longclip.model.identity import model_digest
from longclip.report.chart import Curve, line_chart, value_range
from longclip.report.small_multiples import CHART_HEIGHT, CHART_WIDTH, small_multiples
from longclip.training import TrainConfig
from longclip.training.recipes import paper
from longclip.util.files import write_text
from training_runs import (
    DEMO,
    SEEDS,
    evaluate_once,
    markdown_table,
    number_at,
    percent_cell,
    read_results,
    run_folder,
    train_side_by_side,
)

MEASURED = ("scenes/val", "scenes/val-short")
COLUMNS = {
    "long T2I": ("scenes/val", "long", "text_to_image", "R@1"),
    "long I2T": ("scenes/val", "long", "image_to_text", "R@1"),
    "short T2I": ("scenes/val-short", "short", "text_to_image", "R@1"),
    "short I2T": ("scenes/val-short", "short", "image_to_text", "R@1"),
}


@dataclass(frozen=True)
class Constant:
    """One constant: its field of the configuration, its values, and the one it has elsewhere.

    With `equal_pairs` the steps of a run change with its batch, so that it sees as many pairs.
    """

    title: str
    field: str
    values: tuple[int, ...]
    usual: int
    equal_pairs: bool = False

    @property
    def all_values(self) -> list[int]:
        """Return the values and the usual one, in order."""
        return sorted({*self.values, self.usual})


def constants(start: TrainConfig) -> tuple[Constant, ...]:
    """Return the constants; the batch that all else is compared at is an option."""
    batches = (64, 128, 256, 512, 1024)
    return (
        Constant("first positions kept", "keep", (0, 10, 20, 30, 40), start.keep),
        Constant("tokens after stretching", "context_length", (154, 248, 320, 512), 248),
        Constant(
            "principal components", "pcm_components", (8, 16, 32, 64, 128), start.pcm_components
        ),
        Constant("batch, equal pairs", "batch_size", batches, start.batch_size, equal_pairs=True),
        Constant("batch, equal steps", "batch_size", batches, start.batch_size),
    )


def row(constant: Constant, value: int, start: TrainConfig) -> tuple[str, TrainConfig]:
    """Return the name and the settings of a run; all that change nothing are the same run."""
    if value == constant.usual:
        return "paper", start
    if not constant.equal_pairs:
        name = f"{constant.field}-{value}"
        changed: dict[str, Any] = {constant.field: value}
    else:
        name = f"{constant.field}-{value}-equal-pairs"
        steps = max(1, round(start.steps * start.batch_size / value))
        changed = {constant.field: value, "steps": steps}
    return name, replace(start, **changed)


def runs(chosen: Sequence[Constant], start: TrainConfig, seeds: Sequence[int]) -> list[TrainConfig]:
    """One for each value of each constant and each seed."""
    rows = dict(row(constant, value, start) for constant in chosen for value in constant.values)
    return [
        replace(config, seed=seed, out=run_folder(start.out, name, seed))
        for seed in seeds
        for name, config in rows.items()
    ]


def measure(config: TrainConfig) -> None:
    """Evaluate a finished run, once."""
    evaluate_once(config.out, MEASURED)


def measured(
    constant: Constant, start: TrainConfig, seeds: Sequence[int]
) -> Iterator[tuple[int, list[list[float]]]]:
    """Yield each value with what was measured, by column and seed, as far as runs are done."""
    for value in constant.all_values:
        name, _ = row(constant, value, start)
        if results := read_results(start.out, name, seeds):
            yield value, [[number_at(r, place) for r in results] for place in COLUMNS.values()]


def table(constant: Constant, start: TrainConfig, seeds: Sequence[int]) -> str:
    """In Markdown: mean ± standard deviation over seeds, in percent."""
    rows = [
        (f"{value} (elsewhere)" if value == constant.usual else str(value), found)
        for value, found in measured(constant, start, seeds)
    ]
    cells = [(name, [percent_cell(values) for values in found]) for name, found in rows]
    return f"{constant.title}\n\n{markdown_table(list(COLUMNS), cells)}"


def figure(chosen: Sequence[Constant], start: TrainConfig, seeds: Sequence[int]) -> str:
    """Return an SVG: a chart for each constant, a line for each column, all on one axis.

    Points are means over seeds, upright lines their standard deviations.
    """
    drawn = []
    for constant in chosen:
        found = list(measured(constant, start, seeds))
        if found:
            drawn.append((constant, [curve(i, found) for i in range(len(COLUMNS))]))
    if not drawn:
        raise SystemExit("there is nothing to draw: no run is finished")
    within = value_range([one for _, curves in drawn for one in curves])
    charts = [
        line_chart(
            "R@1",
            constant.title,
            curves,
            width=CHART_WIDTH,
            height=CHART_HEIGHT,
            percent=True,
            mark=(constant.usual, f"as elsewhere: {constant.usual}"),
            choices=constant.all_values,
            within=within,
        )
        for constant, curves in drawn
    ]
    return small_multiples(list(COLUMNS), charts)


def curve(index: int, found: Sequence[tuple[int, list[list[float]]]]) -> Curve:
    """Return the line of one column, in percent."""
    percents = [(value, [100 * one for one in columns[index]]) for value, columns in found]
    return Curve(
        list(COLUMNS)[index],
        [(value, statistics.fmean(seeds)) for value, seeds in percents],
        index,
        dots=True,
        spreads=[statistics.stdev(seeds) if len(seeds) > 1 else 0.0 for _, seeds in percents],
    )


def main() -> None:
    """Run everything, print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="nano", help="base model of 77 tokens")
    parser.add_argument("--out", type=Path, default=Path("runs/constants"), help="folder of runs")
    parser.add_argument("--steps", type=int, default=DEMO.steps, help="steps, but for equal pairs")
    parser.add_argument(
        "--batch-size", type=int, default=DEMO.batch_size, help="pairs per step elsewhere"
    )
    parser.add_argument("--lr", type=float, default=DEMO.lr, help="peak learning rate")
    parser.add_argument("--limit", type=int, default=DEMO.scenes, help="scenes to learn from")
    parser.add_argument("--parallel", type=int, default=2, help="runs side by side, a thread each")
    parser.add_argument("--only", nargs="+", help="fields of the constants to change")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="seeds of each row")
    parser.add_argument("--figure", type=Path, help="SVG file to draw")
    parser.add_argument("--tables", action="store_true", help="only show what there is")
    a = parser.parse_args()
    # Runs of another model or with other settings are others: each kind has a folder of its own.
    kind = f"{model_digest(longclip.load(a.model))[:8]}-{a.steps}x{a.batch_size}-{a.lr:g}-{a.limit}"
    start = replace(
        paper(),
        model=a.model,
        data=("scenes/train-groups",),
        limit=a.limit,
        steps=a.steps,
        batch_size=a.batch_size,
        lr=a.lr,
        workers=1,
        checkpoint_every=1000,
        out=a.out / kind,
    )
    chosen = [one for one in constants(start) if a.only is None or one.field in a.only]
    if not a.tables:
        train_side_by_side(runs(chosen, start, a.seeds), a.parallel, measure)
    for constant in chosen:
        print(f"\n{table(constant, start, a.seeds)}", flush=True)
    if a.figure:
        write_text(a.figure, figure(chosen, start, a.seeds))


if __name__ == "__main__":
    main()
