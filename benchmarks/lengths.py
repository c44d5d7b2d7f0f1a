"""Recall against the tokens that are read, of models that read 77 to 512.

Drawn scenes are described in about 640 tokens each (`scenes/test-longest`), and what tells the
members of a group apart comes behind the first 150. Nano is stretched to several contexts,
and there left as it is or trained on such texts with three recipes and three seeds. What is done is
not done again:

    python benchmarks/lengths.py --out runs/lengths --figure lengths.svg

Each text is cut to its first tokens, whole words; the effective length is the fewest tokens with
which recall is 95 % of what the curve ends with (`LengthCurve.effective_length`).
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import longclip
from longclip.data import ScenesCollection
from longclip.evaluation import LengthCurve, recall_by_length
from longclip.evaluation.embed import embed_images
from longclip.evaluation.ranking import long_texts, text_pool
from longclip.model.clip import CLIP
from longclip.model.identity import model_digest
from longclip.model.stretch import stretch
from longclip.report.chart import Curve, line_chart, value_range
from longclip.report.small_multiples import CHART_HEIGHT, CHART_WIDTH, small_multiples
from longclip.spec import STOCK_CONTEXT
from longclip.training import TrainConfig
from longclip.training.recipes import find_recipe
from longclip.util.files import write_text
from training_runs import DEMO, SEEDS, markdown_table, percent_cell, run_folder, train_side_by_side

CONTEXTS = (77, 154, 248, 320, 512)
RECIPES = ("direct", "paper", "best")
STRETCHED = "stretched"
"""The row of models that are not trained."""
FILE = "lengths.json"


@dataclass(frozen=True)
class Experiment:
    """What is trained and measured, and where it is kept."""

    model: str
    out: Path
    contexts: Sequence[int]
    recipes: Sequence[str]
    seeds: Sequence[int]
    split: str
    scenes: int | None

    def folder(self, row: str, context: int, seed: int = 0) -> Path:
        """Return the folder of a model."""
        return run_folder(self.out, f"{row}-{context}", seed)

    def measure(self, model: CLIP, folder: Path) -> None:
        """Write the curve of a model."""
        collection = ScenesCollection(self.split, self.scenes)
        images = embed_images(model, collection)
        pool = text_pool(collection, images.indices, long_texts)
        assert pool is not None, "scenes have long texts"
        curve = recall_by_length(model, images.embeddings, pool.texts, pool.image_of_text)
        write_text(folder / FILE, json.dumps(curve.to_json()) + "\n")

    def measure_run(self, config: TrainConfig) -> None:
        """Measure a finished run, once."""
        if not (config.out / FILE).exists():
            self.measure(longclip.load(config.out / "model"), config.out)

    def measure_stretched(self) -> None:
        """Measure the models that are only stretched, once."""
        for context in self.contexts:
            folder = self.folder(STRETCHED, context)
            if not (folder / FILE).exists():
                base = longclip.load(self.model)
                self.measure(stretch(base, context) if context > STOCK_CONTEXT else base, folder)

    def runs(self, settings: TrainConfig) -> list[TrainConfig]:
        """Return a run for each context, recipe and seed; `settings` has what all share."""
        shared = ("data", "limit", "steps", "batch_size", "lr", "workers", "checkpoint_every")
        common = {name: getattr(settings, name) for name in shared}
        made = []
        for recipe in self.recipes:
            start = replace(find_recipe(recipe), model=self.model, **common)
            for context in self.contexts:
                longer = replace(start, context_length=context)
                if context == STOCK_CONTEXT:
                    longer = replace(start, stretch="none")
                made += [
                    replace(longer, seed=seed, out=self.folder(recipe, context, seed))
                    for seed in self.seeds
                ]
        return made

    def curves(self, row: str, context: int) -> list[LengthCurve]:
        """Return the curves of all seeds that are there."""
        paths = [self.folder(row, context, seed) / FILE for seed in self.seeds]
        return [read_curve(path) for path in paths if path.exists()]


def read_curve(path: Path) -> LengthCurve:
    """Read what `LengthCurve.to_json` wrote."""
    values = json.loads(path.read_text())
    del values["effective_length"]
    return LengthCurve(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def mean_curve(curves: Sequence[LengthCurve]) -> LengthCurve:
    """Return the mean over seeds."""

    def mean(name: str) -> tuple[float, ...]:
        columns = zip(*(getattr(curve, name) for curve in curves), strict=True)
        return tuple(map(statistics.fmean, columns))

    both = {name: mean(name) for name in ("image_to_text", "text_to_image")}
    return replace(curves[0], **both)


def tables(experiment: Experiment) -> str:
    """In Markdown: recall at the end of each curve, and effective lengths, over seeds."""

    def length_cell(curves: Sequence[LengthCurve]) -> str:
        found = [curve.effective_length for curve in curves]
        known = sorted(length for length in found if length is not None)
        if len(known) < len(found) or not known:
            return "none"
        middle, spread = statistics.fmean(known), f" ({known[0]}–{known[-1]})"
        return f"{middle:.0f}{spread if len(known) > 1 else ''}"

    parts = {
        "text → image R@1 of all that is read": lambda c: percent_cell(
            [x.text_to_image[-1] for x in c]
        ),
        "image → text R@1 of all that is read": lambda c: percent_cell(
            [x.image_to_text[-1] for x in c]
        ),
        "effective length, tokens (range over seeds)": length_cell,
    }
    written = []
    for title, cell in parts.items():
        rows = []
        for row in (STRETCHED, *experiment.recipes):
            found = [experiment.curves(row, context) for context in experiment.contexts]
            rows.append((row, [cell(curves) if curves else "–" for curves in found]))
        contexts = [f"{context} tokens" for context in experiment.contexts]
        written.append(f"{title}\n\n{markdown_table(contexts, rows)}")
    return "\n\n".join(written)


def figure(experiment: Experiment) -> str:
    """Return an SVG: a chart for each row, a line for each context, rings at effective lengths."""
    drawn = []
    for row in (STRETCHED, *experiment.recipes):
        found = [experiment.curves(row, context) for context in experiment.contexts]
        lines = [
            line(mean_curve(curves), f"{context} tokens", index)
            for index, (context, curves) in enumerate(zip(experiment.contexts, found, strict=True))
            if curves
        ]
        if lines:
            drawn.append((row, lines))
    if not drawn:
        raise SystemExit("there is nothing to draw: nothing is measured")
    _, highest = value_range([one for _, lines in drawn for one in lines])
    charts = [
        line_chart(
            f"{row}: text → image R@1",
            "tokens kept of each text",
            lines,
            width=CHART_WIDTH,
            height=CHART_HEIGHT,
            percent=True,
            within=(0.0, highest),
        )
        for row, lines in drawn
    ]
    return small_multiples([f"{context} tokens" for context in experiment.contexts], charts)


def line(curve: LengthCurve, name: str, series: int) -> Curve:
    """Return the line of a chart, in percent."""
    points = [(n, 100 * value) for n, value in zip(curve.tokens, curve.text_to_image, strict=True)]
    length = curve.effective_length
    if length is None:
        return Curve(name, points, series, dots=True)
    ring = (length, 100 * curve.text_to_image_at(length), f"effective length {length}")
    return Curve(name, points, series, dots=True, ring=ring)


def main() -> None:
    """Run everything, print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="nano", help="base model of 77 tokens")
    parser.add_argument("--out", type=Path, default=Path("runs/lengths"), help="folder of runs")
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS, help="tokens read")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="recipes to train with")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="seeds of each row")
    parser.add_argument("--steps", type=int, default=DEMO.steps, help="steps of each training")
    parser.add_argument("--batch-size", type=int, default=DEMO.batch_size, help="pairs per step")
    parser.add_argument("--lr", type=float, default=DEMO.lr, help="peak learning rate")
    parser.add_argument("--limit", type=int, default=DEMO.scenes, help="scenes to learn from")
    parser.add_argument("--split", default="test-longest", help="of the scenes, to measure on")
    parser.add_argument("--scenes", type=int, help="how many of them; all where left out")
    parser.add_argument("--parallel", type=int, default=2, help="runs side by side, a thread each")
    parser.add_argument("--figure", type=Path, help="SVG file to draw")
    parser.add_argument("--tables", action="store_true", help="only show what there is")
    a = parser.parse_args()
    # What was made of another model or with other settings is kept apart.
    digest = model_digest(longclip.load(a.model))[:8]
    kind = f"{digest}-{a.steps}x{a.batch_size}-{a.lr:g}-{a.limit}-{a.split}-{a.scenes or 'all'}"
    experiment = Experiment(
        a.model, a.out / kind, a.contexts, a.recipes, a.seeds, a.split, a.scenes
    )
    if not a.tables:
        settings = TrainConfig(
            data=("scenes/train-groups-longest",),
            limit=a.limit,
            steps=a.steps,
            batch_size=a.batch_size,
            lr=a.lr,
            workers=1,
            checkpoint_every=1000,
        )
        experiment.measure_stretched()
        train_side_by_side(experiment.runs(settings), a.parallel, experiment.measure_run)
    print(tables(experiment), flush=True)
    if a.figure:
        write_text(a.figure, figure(experiment))


if __name__ == "__main__":
    main()
