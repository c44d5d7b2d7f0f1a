"""`longclip demo`: stretch, fine-tune and measure nano on drawn scenes, and write a report."""

import dataclasses
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

import longclip
from longclip import scenes
from longclip.data import ScenesCollection
from longclip.evaluation import (
    Cell,
    EvaluationResult,
    GalleryQuery,
    LengthCurve,
    ResultsTable,
    Row,
    evaluate,
    recall_by_length,
    results_tables,
)
from longclip.evaluation.disagreements import Answering, disagreements
from longclip.evaluation.stats import bootstrap_mean_top1
from longclip.model import CLIP
from longclip.report import ReportData, write_report
from longclip.training import PixelStore, TrainConfig, train
from longclip.training.recipes import best, direct, paper
from longclip.util.files import write_text
from longclip.util.terminal import OnProgress

_TOKENS_KEPT = (5, 10, 20, 30, 40, 50, 60, 75, 90, 105, 120, 135, 150, 170, 190)
"""Numbers of a text's first tokens at which recall is measured."""

_MAX_GALLERY_QUERIES = 6
_MAX_CANDIDATES = 64
"""Texts with the largest margins between the two models, of which the gallery is chosen."""

_PIXEL_CACHE_GB = 2.0
_TRAIN_SPLIT = "train-groups"
_FULL_SEEDS = (0, 1, 2)

BASE, DIRECT, LONG_CLIP, BEST = "CLIP (nano)", "direct", "Long-CLIP", "best"
_DRAWN = (BASE, DIRECT, LONG_CLIP, BEST)
"""Models whose recall by length is drawn: the others lie between them."""


def fine_tunings() -> dict[str, TrainConfig]:
    """Return the fine-tunings: both halves of the method with and without the other, and `best`."""
    return {
        DIRECT: direct(),
        "KPS only": dataclasses.replace(direct(), recipe="kps", stretch="knowledge-preserved"),
        "PCM only": dataclasses.replace(direct(), recipe="pcm", pcm=True),
        LONG_CLIP: paper(),
        BEST: best(),
    }


@dataclass(frozen=True)
class DemoConfig:
    """Size, data and seeds of the demo.

    The rates are far above Table 4's: nano is three orders of magnitude smaller than ViT-B/16 and
    learns in a hundred steps what that learns in a thousand.

    Attributes:
        out: directory of the report, the numbers and the runs.
        scenes: number of scenes to train on.
        test_scenes: number of scenes to measure on, for long and for short texts.
        steps: optimizer steps of each fine-tuning.
        batch_size: pairs per step.
        lr: peak learning rate.
        seeds: each makes a run of every fine-tuning.
    """

    out: Path = Path("runs/demo")
    scenes: int = 8192
    test_scenes: int = 500
    steps: int = 40
    batch_size: int = 128
    lr: float = 5e-4
    seeds: tuple[int, ...] = (0,)

    def full(self) -> "DemoConfig":
        """Return the same with three seeds."""
        return dataclasses.replace(self, seeds=_FULL_SEEDS)


@dataclass(frozen=True, eq=False)
class MeasuredModel:
    """One model and all that was measured on it."""

    name: str
    long: EvaluationResult
    short: EvaluationResult
    answering: Answering
    curve: LengthCurve
    train_seconds: float


def run_demo(config: DemoConfig, on_progress: OnProgress) -> dict[str, object]:
    """Fine-tune nano in every way of `fine_tunings`, measure all models, write results and report.

    Leaves `results.json` (also returned) and `report.html` in `config.out`; an older demo there
    is trained anew.
    """
    began = time.perf_counter()
    nano = longclip.load("nano")
    pairs = ScenesCollection(_TRAIN_SPLIT, config.scenes, nano.preprocess.image_size)
    # All fine-tunings see the same pictures, which are drawn once.
    store = PixelStore(pairs, nano.preprocess, cache_gb=_PIXEL_CACHE_GB)
    measured = {BASE: [_measure(config, BASE, nano, 0.0, on_progress)]}
    for seed in config.seeds:
        for name, recipe in fine_tunings().items():
            tuned, seconds = _fine_tune(config, name, recipe, seed, store, on_progress)
            found = _measure(config, name, tuned, seconds, on_progress)
            measured.setdefault(name, []).append(found)
    seconds = time.perf_counter() - began
    results = {
        "longclip": longclip.__version__,
        "config": {**dataclasses.asdict(config), "out": str(config.out)},
        "seconds": round(seconds, 1),
        "models": {
            name: [
                {
                    "train_seconds": round(run.train_seconds, 1),
                    "long": run.long.to_json(),
                    "short": run.short.to_json(),
                    "recall_by_tokens_kept": run.curve.to_json(),
                }
                for run in runs
            ]
            for name, runs in measured.items()
        },
    }
    write_text(config.out / "results.json", json.dumps(results, indent=2) + "\n")
    write_report(config.out / "report.html", _report(config, measured, seconds))
    return results


def _fine_tune(
    config: DemoConfig,
    name: str,
    recipe: TrainConfig,
    seed: int,
    store: PixelStore,
    on_progress: OnProgress,
) -> tuple[CLIP, float]:
    """Return nano as a recipe fine-tunes it, and the seconds that took."""
    settings = dataclasses.replace(
        recipe,
        model="nano",
        data=(f"scenes/{_TRAIN_SPLIT}",),
        out=config.out / f"{recipe.recipe}-{seed}",
        limit=config.scenes,
        steps=config.steps,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=seed,
        checkpoint_every=config.steps,
    )
    stage = f"{name}, seed {seed}: training" if len(config.seeds) > 1 else f"{name}: training"
    result = train(
        settings,
        overwrite=True,  # of an earlier demo
        store=store,
        on_step=lambda step, total, note: on_progress(stage, step, total, note),
    )
    return longclip.load(result.model), result.seconds


def _measure(
    config: DemoConfig, name: str, model: CLIP, train_seconds: float, on_progress: OnProgress
) -> MeasuredModel:
    """Measure a model on long and on short texts, and by the number of tokens that it reads."""
    long, short = (
        evaluate(
            model,
            ScenesCollection(split, config.test_scenes, model.preprocess.image_size),
            name=name,
            on_progress=on_progress,
        )
        for split in ("test", "test-short")
    )
    assert long.long is not None
    answering = Answering.of(model, long, long.long)
    assert long.long.pool is not None
    curve = recall_by_length(
        model,
        answering.images,
        long.long.pool.texts,
        long.long.pool.image_of_text,
        tokens=_TOKENS_KEPT,
    )
    return MeasuredModel(name, long, short, answering, curve, train_seconds)


def _comparison(measured: dict[str, list[MeasuredModel]]) -> ResultsTable:
    """Return the five numbers that the paper's ablation is about, for every model."""
    columns = (
        "long text → image R@1",
        "long image → text R@1",
        "short text → image R@1",
        "short image → text R@1",
        "zero-shot, mean",
    )
    table_rows = []
    for name, runs in measured.items():
        cells = []
        for kind in ("long", "short"):
            found = [getattr(getattr(run, kind), kind) for run in runs]
            for direction in ("text_to_image", "image_to_text"):
                interval = getattr(found[0].intervals(), direction)[1] if len(runs) == 1 else None
                values = [getattr(part.recall, direction)[1] for part in found]
                cells.append(Cell.of(values, interval))
        tasks = [list(run.short.zero_shot.values()) for run in runs]
        means = [sum(task.accuracy for task in own) / len(own) for own in tasks]
        cells.append(Cell.of(means, bootstrap_mean_top1(tasks[0]) if len(runs) == 1 else None))
        table_rows.append(Row(name, tuple(cells)))
    return ResultsTable("What each half of the method does", "", columns, tuple(table_rows))


def _report(
    config: DemoConfig, measured: dict[str, list[MeasuredModel]], seconds: float
) -> ReportData:
    """Return what the page shows of all models."""
    gallery = _gallery(measured[BASE][0], measured[LONG_CLIP][0])
    # Long texts are compared on the groups, short ones and classes on scenes of their own.
    tables = (
        *results_tables({name: [run.long for run in runs] for name, runs in measured.items()}),
        *results_tables(
            {
                name: [dataclasses.replace(run.short, long=None) for run in runs]
                for name, runs in measured.items()
            }
        ),
    )
    many = len(config.seeds) > 1
    seeds = f"seed{'s' if many else ''} {', '.join(map(str, config.seeds))}"
    return ReportData(
        title="Long-CLIP on drawn scenes",
        summary=(
            "A small CLIP that reads 77 tokens was stretched to 248 and fine-tuned on long "
            "descriptions. The long test has groups of five scenes that share their summary and "
            "first sentences; only what is said late tells them apart. The summaries of the short "
            "test differ in the colours of landmark and house alone."
        ),
        comparison=_comparison(measured),
        comparison_note=(
            "Fine-tuned directly (all positions interpolated, long texts only), with the first 20 "
            "positions kept (KPS), with primary component matching (PCM), with both (Long-CLIP), "
            "and with what did best in our own comparison. "
            + (
                f"Dots are means of {len(config.seeds)} seeds, lines one standard deviation to "
                f"either side; of {BASE}, a single model, 95 % bootstrap intervals over images."
                if many
                else "Lines are 95 % bootstrap intervals over images, of one run each."
            )
        ),
        tables=tables,
        curves={name: measured[name][0].curve for name in _DRAWN},
        queries=gallery,
        queries_note=(
            f"{len(gallery)} descriptions that {BASE} gets wrong and {LONG_CLIP} right, "
            "at most one of a group: first those decided by a sentence that a stock CLIP no "
            "longer reads, among them those with the largest margin."
        ),
        command=f"longclip demo --out {config.out} "
        + ("--full" if config.seeds == _FULL_SEEDS else f"--seed {config.seeds[0]}"),
        facts={
            "Fine-tuning": (
                f"{config.steps} steps of {config.batch_size} pairs, learning rate {config.lr}, "
                f"{config.scenes:,} scenes, {seeds}"
            ),
            "Time": f"{seconds:.0f} s in all; "
            + ", ".join(
                f"{name} {statistics.fmean(run.train_seconds for run in runs):.0f} s"
                for name, runs in measured.items()
                if name != BASE
            ),
            "Versions": f"longclip {longclip.__version__}, torch {torch.__version__}",
        },
    )


def _gallery(base: MeasuredModel, long_clip: MeasuredModel) -> tuple[GalleryQuery, ...]:
    """Return texts of which the base model gets the image wrong and the long one right."""
    pool = base.long.long and base.long.long.pool
    assert pool
    collection = ScenesCollection("test")

    def picture(index: int) -> tuple[Image.Image, str]:
        return collection.image(index), f"scene {index} of the test split"

    def summary(index: int) -> str:
        return scenes.summarize(scenes.make_scene("test", index))

    chosen = disagreements(
        [base.answering, long_clip.answering],
        pool,
        picture,
        queries=_MAX_GALLERY_QUERIES,
        of_lost=0,
        candidates=_MAX_CANDIDATES,
        group=summary,
    )
    return chosen.queries
