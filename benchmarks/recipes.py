"""Effects of each change to the recipe, on drawn scenes and real photos (docs/results.md).

Every row is the `paper` recipe with one switch more; three seeds each. Dev splits are for choosing
(`best` was chosen on them), test splits for telling. What is done already is not done again:

    python benchmarks/recipes.py --data DATA --base runs/photos/base/model --out runs/recipes

DATA holds flickr8k/{train,dev,test}.parquet and nlvr/{train,test}.parquet; BASE is the base model
of benchmarks/real_photos.py. Without both, only the scenes are done.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import longclip
from longclip.data import open_collection
from longclip.data.open import open_training_data
from longclip.evaluation import evaluate
from longclip.model.average import average
from longclip.model.stretch import stretch
from longclip.training import PixelStore, TrainConfig, train
from longclip.training.recipes import direct, paper
from longclip.util.files import write_text

SEEDS = (0, 1, 2)

CHANGES: dict[str, dict[str, Any]] = {
    "paper": {},
    "de-biased short texts": {"short_texts": "without-first"},
    "de-biased, 0.9 long + 0.1 short": {
        "short_texts": "without-first",
        "long_weight": 0.9,
        "pcm_weight": 0.1,
    },
    "0.9 long + 0.1 short": {"long_weight": 0.9, "pcm_weight": 0.1},
    "PAD prefix": {"pad_prefix": 20},
    "distillation": {"distill_weight": 1.0},
    "margin 0.25": {"margin": 0.25},
    "margin 0.5": {"margin": 0.5},
    "sigmoid, 2 positives": {"short_loss": "sigmoid", "positives": 2},
    "LoRA, rank 16": {"lora_rank": 16, "lora_alpha": 32.0, "lr": 2e-3},
    "margin 0.25, de-biased, 0.9 + 0.1": {
        "margin": 0.25,
        "short_texts": "without-first",
        "long_weight": 0.9,
        "pcm_weight": 0.1,
    },
}
AVERAGED = {
    "paper, WiSE-FT 0.25": ("paper", 0.25),
    "paper, WiSE-FT 0.5": ("paper", 0.5),
    "margin 0.25, WiSE-FT 0.25": ("margin 0.25", 0.25),
    "margin 0.25, de-biased, 0.9 + 0.1, WiSE-FT 0.25": ("margin 0.25, de-biased, 0.9 + 0.1", 0.25),
}
"""Finished models averaged with the stretched one they started from, which has this share."""


@dataclass(frozen=True)
class Setting:
    """Data to learn from and to measure on, and where to start.

    `columns` name what a table shows: a collection, a kind of text, a direction, a measure.
    """

    name: str
    start: TrainConfig
    measured: dict[str, tuple[str, ...]]
    columns: dict[str, tuple[str, str, str, str]]


def settings(data: Path | None, base: Path | None, out: Path) -> list[Setting]:
    """The scenes, and the photos where they are."""
    common = replace(paper(), batch_size=128, lr=5e-4, workers=1, checkpoint_every=1000)
    scenes = Setting(
        "scenes",
        replace(common, model="nano", data=("scenes/train-groups",), limit=8192, steps=72, out=out),
        {"val": ("scenes/val", "scenes/val-short"), "test": ("scenes/test", "scenes/test-short")},
        {
            "long T2I": ("scenes/{}", "long", "text_to_image", "R@1"),
            "long I2T": ("scenes/{}", "long", "image_to_text", "R@1"),
            "short T2I": ("scenes/{}-short", "short", "text_to_image", "R@1"),
            "short I2T": ("scenes/{}-short", "short", "image_to_text", "R@1"),
        },
    )
    if data is None or base is None:
        return [scenes]
    flickr, nlvr = f"{data}/flickr8k", f"{data}/nlvr"
    photos = Setting(
        "photos",
        replace(
            common,
            model=str(base),
            data=(f"{flickr}/train.parquet", f"{nlvr}/train.parquet"),
            steps=48,
            out=out,
        ),
        {
            "dev": (f"{flickr}/dev.parquet",),
            "test": (f"{nlvr}/test.parquet", f"{flickr}/test.parquet"),
        },
        {
            "NLVR long T2I": (f"{nlvr}/{{}}.parquet", "long", "text_to_image", "R@1"),
            "NLVR long I2T": (f"{nlvr}/{{}}.parquet", "long", "image_to_text", "R@1"),
            "NLVR short T2I": (f"{nlvr}/{{}}.parquet", "short", "text_to_image", "R@1"),
            "NLVR short I2T": (f"{nlvr}/{{}}.parquet", "short", "image_to_text", "R@1"),
            "Flickr8k joined T2I R@10": (
                f"{flickr}/{{}}.parquet", "long", "text_to_image", "R@10",
            ),
            "Flickr8k short T2I R@10": (
                f"{flickr}/{{}}.parquet", "short", "text_to_image", "R@10",
            ),
        },
    )  # fmt: skip
    return [scenes, photos]


def runs(setting: Setting) -> list[tuple[str, TrainConfig]]:
    """One for each change and seed."""
    start = setting.start
    direct_too = replace(start, **{n: getattr(direct(), n) for n in ("recipe", "stretch", "pcm")})
    rows = {"direct": direct_too} | {
        name: replace(start, **change) for name, change in CHANGES.items()
    }
    return [
        (name, replace(row, seed=seed, out=folder(start.out, setting, name, seed)))
        for seed in SEEDS
        for name, row in rows.items()
    ]


def folder(out: Path, setting: Setting, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    plain = "".join(c if c.isalnum() else "-" for c in name)
    return out / setting.name / f"{plain}-{seed}"


def work(setting: Setting, jobs: Any, store: PixelStore) -> None:
    """Train and measure until nothing is left to do."""
    torch.set_num_threads(1)
    while (job := jobs.get()) is not None:
        name, config = job
        if not (config.out / "model").exists():
            train(config, store=store, resume=(config.out / "config.json").exists())
        measure(setting, config.out / "model", config.out / "eval.json")
        print(f"{setting.name}: {name}, seed {config.seed}", file=sys.stderr, flush=True)
        for row, (trained, share) in AVERAGED.items():
            if trained == name:
                averaged(setting, row, config, share)


def averaged(setting: Setting, row: str, config: TrainConfig, share: float) -> None:
    """Measure a finished model averaged with the stretched one that it started from."""
    at = folder(setting.start.out, setting, row, config.seed)
    if not (at / "eval.json").exists():
        model = average(
            longclip.load(config.out / "model"), stretch(longclip.load(config.model)), share
        )
        longclip.save(model, at / "model")
        measure(setting, at / "model", at / "eval.json")


def measure(setting: Setting, model: Path, result: Path) -> None:
    """Evaluate on every split, once."""
    if result.exists():
        return
    encoder = longclip.load(model, dtype=torch.bfloat16)
    found = {
        name: evaluate(encoder, open_collection(name), name=str(model)).to_json()
        for names in setting.measured.values()
        for name in names
    }
    write_text(result, json.dumps(found) + "\n")


def do(setting: Setting, parallel: int) -> None:
    """Make all runs of one setting, several processes side by side sharing decoded pictures."""
    preprocess = longclip.load(setting.start.model).preprocess
    store = PixelStore(open_training_data(setting.start.data), preprocess, 4.0)
    context = multiprocessing.get_context("fork")
    jobs = context.Queue()
    for job in runs(setting):
        jobs.put(job)
    workers = [context.Process(target=work, args=(setting, jobs, store)) for _ in range(parallel)]
    for worker in workers:
        jobs.put(None)
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit(f"a worker ended with {worker.exitcode}")


def table(setting: Setting, split: str) -> str:
    """In Markdown: mean ± standard deviation over seeds, in percent."""
    columns = {
        title: (place[0].format(split), *place[1:])
        for title, place in setting.columns.items()
        if place[0].format(split) in setting.measured[split]
    }
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    rows = ["direct", *CHANGES, *AVERAGED]
    for name in rows:
        paths = [folder(setting.start.out, setting, name, seed) / "eval.json" for seed in SEEDS]
        results = [json.loads(path.read_text()) for path in paths if path.exists()]
        if results:
            cells = [_cell([_at(r, place) for r in results]) for place in columns.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    percent = [100 * value for value in values]
    spread = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.fmean(percent):.1f}{spread}"


def _at(result: Any, place: Sequence[str]) -> float:
    for key in place:
        result = result[key]
    return float(result)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--base", type=Path, help="model that the photos start from")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/recipes"), help="where runs are kept"
    )
    parser.add_argument("--parallel", type=int, default=2, help="runs side by side, a thread each")
    parser.add_argument("--only", choices=("scenes", "photos"), help="one of the two")
    parser.add_argument("--tables", action="store_true", help="only print what there is")
    a = parser.parse_args()
    for setting in settings(a.data, a.base, a.out):
        if a.only in (None, setting.name):
            if not a.tables:
                do(setting, a.parallel)
            for split in setting.measured:
                print(f"\n{setting.name}, {split}\n\n{table(setting, split)}", flush=True)


if __name__ == "__main__":
    main()
