"""Effects of each change to the recipe, on drawn scenes and real photos (docs/results.md).

Every row is the `paper` recipe with one switch more; three seeds each. Dev splits are for choosing
(`best` was chosen on them), test splits for telling. What is done already is not done again:

    python benchmarks/recipes.py --data DATA --base runs/photos/base/model --out runs/recipes

DATA holds flickr8k/{train,dev,test}.parquet and nlvr/{train,test}.parquet; BASE is the base model
of benchmarks/real_photos.py. Without both, only the scenes are done.
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import longclip
from longclip.model.average import average
from longclip.model.stretch import stretch
from longclip.training import TrainConfig
from longclip.training.recipes import direct, paper
from training_runs import (
    DEMO,
    RESULT,
    SEEDS,
    evaluate_once,
    markdown_table,
    number_at,
    percent_cell,
    read_results,
    run_folder,
    train_side_by_side,
)

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
        replace(
            common,
            model="nano",
            data=("scenes/train-groups",),
            limit=DEMO.scenes,
            steps=DEMO.steps,
            out=out,
        ),
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


def runs(setting: Setting) -> list[TrainConfig]:
    """One for each change and seed."""
    start = setting.start
    direct_too = replace(start, **{n: getattr(direct(), n) for n in ("recipe", "stretch", "pcm")})
    rows = {"direct": direct_too} | {
        name: replace(start, **change) for name, change in CHANGES.items()
    }
    return [
        replace(row, seed=seed, out=folder(setting, name, seed))
        for seed in SEEDS
        for name, row in rows.items()
    ]


def folder(setting: Setting, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    return run_folder(setting.start.out / setting.name, name, seed)


def measure(setting: Setting, config: TrainConfig) -> None:
    """Evaluate a finished run on every split, and its averages with the model it started from."""
    collections = [name for names in setting.measured.values() for name in names]
    evaluate_once(config.out, collections)
    for row, (trained, share) in AVERAGED.items():
        at = folder(setting, row, config.seed)
        if folder(setting, trained, config.seed) == config.out and not (at / RESULT).exists():
            model = average(
                longclip.load(config.out / "model"), stretch(longclip.load(config.model)), share
            )
            longclip.save(model, at / "model")
            evaluate_once(at, collections)


def table(setting: Setting, split: str) -> str:
    """In Markdown: mean ± standard deviation over seeds, in percent."""
    columns = {
        title: (place[0].format(split), *place[1:])
        for title, place in setting.columns.items()
        if place[0].format(split) in setting.measured[split]
    }
    rows = []
    for name in ("direct", *CHANGES, *AVERAGED):
        if results := read_results(setting.start.out / setting.name, name, SEEDS):
            numbers = [[number_at(r, place) for r in results] for place in columns.values()]
            rows.append((name, [percent_cell(values) for values in numbers]))
    return markdown_table(list(columns), rows)


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
                train_side_by_side(runs(setting), a.parallel, partial(measure, setting))
            for split in setting.measured:
                print(f"\n{setting.name}, {split}\n\n{table(setting, split)}", flush=True)


if __name__ == "__main__":
    main()
