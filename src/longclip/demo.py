"""The main job on the embedded scenes: stretch, fine-tune, measure, report."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

import longclip
from longclip import scenes
from longclip.data import ScenesCollection
from longclip.evaluation import (
    EvaluationResult,
    GalleryQuery,
    LengthCurve,
    evaluate,
    recall_by_length,
    results_tables,
)
from longclip.evaluation.disagreements import Answering, disagreements
from longclip.model import CLIP
from longclip.report import ReportData, write_report
from longclip.training import PixelStore, TrainConfig, train
from longclip.training.recipes import direct, paper
from longclip.training.run_directory import RunDirectory
from longclip.util.files import write_text
from longclip.util.terminal import OnProgress

TOKENS_KEPT = (5, 10, 20, 30, 40, 50, 60, 75, 90, 105, 120, 135, 150, 170, 190)
QUERIES = 6
TRAIN_SPLIT = "train-groups"
CLIP_NAME, DIRECT_NAME, LONG_NAME = "CLIP (nano)", "direct fine-tuning", "Long-CLIP"


@dataclass(frozen=True)
class DemoConfig:
    """How much the demo trains and on what.

    The rates are far above Table 4's: nano is three orders of magnitude smaller than ViT-B/16 and
    learns in a hundred steps what that learns in a thousand.
    """

    out: Path = Path("runs/demo")
    scenes: int = 8192
    test_scenes: int = 500
    steps: int = 72
    batch_size: int = 128
    lr: float = 5e-4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Contestant:
    """One model and all that was measured on it."""

    name: str
    model: CLIP
    long: EvaluationResult
    short: EvaluationResult
    curve: LengthCurve
    train_seconds: float


def run_demo(config: DemoConfig, on_progress: OnProgress) -> dict[str, object]:
    """Fine-tune nano with `direct` and `paper`, measure all three, write results and report.

    Leaves `results.json` (also returned) and `report.html` in `config.out`; an older demo there
    is trained anew.
    """
    began = time.perf_counter()
    nano = longclip.load("nano")
    pairs = ScenesCollection(TRAIN_SPLIT, config.scenes, nano.preprocess.image_size)
    store = PixelStore(pairs, nano.preprocess, cache_gb=2.0)
    contestants = [_measure(config, CLIP_NAME, nano, 0.0, on_progress)]
    for name, recipe in ((DIRECT_NAME, direct()), (LONG_NAME, paper())):
        settings = _settings(config, recipe)
        model, seconds = _fine_tune(name, settings, store, on_progress)
        contestants.append(_measure(config, name, model, seconds, on_progress))
    seconds = time.perf_counter() - began
    results = _results(config, contestants, seconds)
    write_text(config.out / "results.json", json.dumps(results, indent=2) + "\n")
    write_report(config.out / "report.html", _report(config, contestants, seconds))
    return results


def _settings(config: DemoConfig, recipe: TrainConfig) -> TrainConfig:
    return dataclasses.replace(
        recipe,
        model="nano",
        data=(f"scenes/{TRAIN_SPLIT}",),
        out=config.out / recipe.recipe,
        limit=config.scenes,
        steps=config.steps,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=config.seed,
        checkpoint_every=config.steps,
    )


def _fine_tune(
    name: str, settings: TrainConfig, store: PixelStore, on_progress: OnProgress
) -> tuple[CLIP, float]:
    # What an earlier demo left here is trained anew.
    RunDirectory(settings.out).clear()
    result = train(
        settings,
        store=store,
        on_step=lambda step, total, note: on_progress(f"{name}: training", step, total, note),
    )
    return longclip.load(result.model), result.seconds


def _measure(
    config: DemoConfig, name: str, model: CLIP, train_seconds: float, on_progress: OnProgress
) -> Contestant:
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
        tokens=TOKENS_KEPT,
    )
    return Contestant(name, model, long, short, curve, train_seconds)


def _results(
    config: DemoConfig, contestants: list[Contestant], seconds: float
) -> dict[str, object]:
    return {
        "longclip": longclip.__version__,
        "config": {**dataclasses.asdict(config), "out": str(config.out)},
        "seconds": round(seconds, 1),
        "models": {
            c.name: {
                "train_seconds": round(c.train_seconds, 1),
                "long": c.long.to_json(),
                "short": c.short.to_json(),
                "recall_by_tokens_kept": c.curve.to_json(),
            }
            for c in contestants
        },
    }


def _report(config: DemoConfig, contestants: list[Contestant], seconds: float) -> ReportData:
    base, _, long_clip = contestants
    gallery = _gallery(base, long_clip)
    # Long texts are compared on the groups, short ones and classes on scenes that all differ.
    tables = (
        *results_tables({c.name: [c.long] for c in contestants}),
        *results_tables({c.name: [dataclasses.replace(c.short, long=None)] for c in contestants}),
    )
    return ReportData(
        title="Long-CLIP on drawn scenes",
        summary=(
            "A small CLIP that reads 77 tokens was stretched to 248 and fine-tuned on long "
            "descriptions, once directly and once as Long-CLIP does. The test scenes come in "
            "groups of five that share their summary and first sentences; only what is said late "
            "tells them apart."
        ),
        tables=tables,
        curves={c.name: c.curve for c in contestants},
        queries=gallery,
        queries_note=(
            f"{len(gallery)} descriptions that {base.name} gets wrong and {long_clip.name} right, "
            "at most one of a group: first those decided by a sentence that a stock CLIP no "
            "longer reads, among them those with the largest margin."
        ),
        command=f"longclip demo --out {config.out} --seed {config.seed}",
        facts={
            "Fine-tuning": (
                f"{config.steps} steps of {config.batch_size} pairs, learning rate {config.lr}, "
                f"{config.scenes:,} scenes, seed {config.seed}"
            ),
            "Time": f"{seconds:.0f} s in all; "
            + ", ".join(f"{c.name} {c.train_seconds:.0f} s" for c in contestants[1:]),
            "Versions": f"longclip {longclip.__version__}, torch {torch.__version__}",
        },
    )


def _gallery(base: Contestant, long_clip: Contestant) -> tuple[GalleryQuery, ...]:
    """Where the base model returns a wrong image and the long one the right one."""
    pool = base.long.long and base.long.long.pool
    assert pool
    collection = ScenesCollection("test")

    def picture(index: int) -> tuple[Image.Image, str]:
        return collection.image(index), f"scene {index} of the test split"

    def summary(index: int) -> str:
        return scenes.summarize(scenes.make_scene("test", index))

    chosen = disagreements(
        [_answering(base), _answering(long_clip)],
        pool,
        picture,
        queries=QUERIES,
        of_lost=0,
        candidates=64,
        group=summary,
    )
    return chosen.queries


def _answering(contestant: Contestant) -> Answering:
    assert contestant.long.long
    return Answering.of(contestant.model, contestant.long, contestant.long.long)
