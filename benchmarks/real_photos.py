"""Real photos: pre-train a small CLIP, lengthen it four ways, measure everything (docs/results.md).

One command makes every row of the tables; a run that was interrupted goes on where it stopped:

    python benchmarks/real_photos.py --data DATA --out runs/photos

DATA holds flickr8k/{train,test}.parquet (five captions per photo), nlvr/{train,test}.parquet
(`short` and `long` texts), cifar10/test.parquet and imagenet-sample/test.parquet (labels).
"""

import argparse
import dataclasses
import json
import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import longclip
from longclip.data import join, open_collection
from longclip.evaluation import evaluate
from longclip.image import Preprocess
from longclip.training import PixelStore, TrainConfig, train
from longclip.training.recipes import clip, direct, paper
from longclip.util.files import write_text
from longclip.util.terminal import progress_display

TRAIN = ("flickr8k/train.parquet", "nlvr/train.parquet")
TEST = ("flickr8k/test", "nlvr/test", "cifar10/test", "imagenet-sample/test")
SEEDS = (0, 1, 2)
STEPS = 48

# Neither, KPS only, PCM only, both: the paper's ablation (Table 5) and its two named recipes.
CELLS: dict[str, TrainConfig] = {
    "direct": direct(),
    "kps-only": dataclasses.replace(direct(), stretch="knowledge-preserved"),
    "pcm-only": dataclasses.replace(direct(), pcm=True),
    "paper": paper(),
}

# What a column is called, and where it stands in the JSON of an evaluation.
COLUMNS: dict[str, tuple[str, ...]] = {
    "Flickr8k short T2I": ("flickr8k/test", "short", "text_to_image", "R@1"),
    "Flickr8k short I2T": ("flickr8k/test", "short", "image_to_text", "R@1"),
    "Flickr8k short T2I R@10": ("flickr8k/test", "short", "text_to_image", "R@10"),
    "Flickr8k joined T2I": ("flickr8k/test", "long", "text_to_image", "R@1"),
    "Flickr8k joined I2T": ("flickr8k/test", "long", "image_to_text", "R@1"),
    "Flickr8k joined T2I R@10": ("flickr8k/test", "long", "text_to_image", "R@10"),
    "NLVR long T2I": ("nlvr/test", "long", "text_to_image", "R@1"),
    "NLVR long I2T": ("nlvr/test", "long", "image_to_text", "R@1"),
    "NLVR short T2I": ("nlvr/test", "short", "text_to_image", "R@1"),
    "NLVR short I2T": ("nlvr/test", "short", "image_to_text", "R@1"),
    "NLVR long T2I R@10": ("nlvr/test", "long", "text_to_image", "R@10"),
    "CIFAR-10": ("cifar10/test", "zero_shot", "label", "top1"),
    "ImageNet sample": ("imagenet-sample/test", "zero_shot", "label", "top1"),
}


def configurations(data: Path, out: Path) -> Iterator[tuple[str, TrainConfig]]:
    """The base model, then each cell with each seed."""
    paths = tuple(str(data / name) for name in TRAIN)
    base = dataclasses.replace(clip(), scratch="small", data=paths, epochs=20, out=out / "base")
    yield "base", base
    for name, recipe in CELLS.items():
        for seed in SEEDS:
            yield (
                name,
                dataclasses.replace(
                    recipe,
                    model=str(out / "base" / "model"),
                    data=paths,
                    out=out / f"{name}-{seed}",
                    # Half an epoch; a small model in so few steps takes a higher rate than Table 4.
                    steps=STEPS,
                    batch_size=128,
                    lr=5e-4,
                    seed=seed,
                ),
            )


def command(config: TrainConfig) -> str:
    """The `longclip train` line that does what `config` says."""
    recipe = {"clip": clip, "direct": direct, "paper": paper}[config.recipe]()
    words = ["longclip", "train", "--recipe", config.recipe]
    for field in dataclasses.fields(TrainConfig):
        value = getattr(config, field.name)
        if field.name == "recipe" or value == getattr(recipe, field.name):
            continue
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [flag, str(one)]
    return shlex.join(words)


def run(data: Path, out: Path) -> None:
    """Train and measure whatever is not there yet."""
    store = None
    for name, config in configurations(data, out):
        print(command(config), flush=True)
        if not (config.out / "model").exists():
            if store is None:
                collection = join([open_collection(path) for path in config.data])
                preprocess = Preprocess(image_size=112)
                store = PixelStore(collection, preprocess, config.cache_gb)
            with progress_display() as progress:
                train(
                    config,
                    resume=(config.out / "config.json").exists(),
                    store=store,
                    on_step=lambda n, of, note, name=name: progress(name, n, of, note),
                )
        measure(config.out / "model", config.out / "eval.json", data)


def measure(model: Path, result: Path, data: Path) -> None:
    """Evaluate on every test set, once."""
    if result.exists():
        return
    encoder = longclip.load(model, dtype=torch.bfloat16)
    with progress_display() as progress:
        results = {
            name: evaluate(
                encoder,
                open_collection(data / f"{name}.parquet"),
                name=str(model),
                on_progress=progress,
            ).to_json()
            for name in TEST
        }
    write_text(result, json.dumps(results, indent=2) + "\n")


def table(out: Path) -> str:
    """Return all numbers in Markdown, mean ± standard deviation over seeds, in percent."""
    lines = ["| model | " + " | ".join(COLUMNS) + " | training |"]
    lines.append("|---|" + "---:|" * (len(COLUMNS) + 1))
    for name in ("base", *CELLS):
        runs = [out / name] if name == "base" else [out / f"{name}-{seed}" for seed in SEEDS]
        results = [json.loads((path / "eval.json").read_text()) for path in runs]
        cells = [
            _cell([_at(result, place) for result in results], 100) for place in COLUMNS.values()
        ]
        seconds = [_last(path / "metrics.jsonl")["seconds"] for path in runs]
        lines.append(f"| {name} | {' | '.join(cells)} | {_cell(seconds, 1, 0)} s |")
    return "\n".join(lines)


def _cell(values: list[float], factor: float, digits: int = 1) -> str:
    values = [factor * value for value in values]
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _at(result: Any, place: tuple[str, ...]) -> float:
    for key in place:
        result = result[key]
    return float(result)


def _last(metrics: Path) -> Any:
    return json.loads(metrics.read_text().splitlines()[-1])


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/photos"), help="where runs are kept")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 for its default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run(arguments.data, arguments.out)
    result = table(arguments.out)
    write_text(arguments.out / "table.md", result + "\n")
    print(result)


if __name__ == "__main__":
    main()
