"""Trainings that differ in settings and seeds, made side by side, each measured once.

What is done already is not done again, so a script that was stopped goes on. Every run has a folder
with what `train` writes, and the file of its measurements beside `model/`.
"""

import json
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

import longclip
from longclip.data import open_collection
from longclip.data.open import open_training_data
from longclip.demo import DemoConfig
from longclip.evaluation import evaluate
from longclip.training import PixelStore, TrainConfig, train
from longclip.util.files import write_text

SEEDS = (0, 1, 2)
DEMO = DemoConfig()
"""What runs on drawn scenes take where nothing else is said: scenes, steps, batch, rate."""
RESULT = "eval.json"

Measure = Callable[[TrainConfig], None]


def run_folder(out: Path, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    plain = "".join(c if c.isalnum() else "-" for c in name)
    return out / f"{plain}-{seed}"


def train_side_by_side(configs: Sequence[TrainConfig], parallel: int, measure: Measure) -> None:
    """Train what is not yet trained, and measure it, in processes of one thread each.

    Args:
        configs: of the same model and data, whose pictures are decoded once for all.
        parallel: how many processes.
        measure: called after each training, also one that was finished before.
    """
    preprocess = longclip.load(configs[0].model).preprocess
    store = PixelStore(open_training_data(configs[0].data), preprocess, 4.0)
    context = multiprocessing.get_context("fork")
    jobs = context.Queue()
    for config in configs:
        jobs.put(config)
    workers = [context.Process(target=_work, args=(jobs, store, measure)) for _ in range(parallel)]
    for worker in workers:
        jobs.put(None)
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit(f"a worker ended with {worker.exitcode}")


def _work(jobs: Any, store: PixelStore, measure: Measure) -> None:
    torch.set_num_threads(1)
    while (config := jobs.get()) is not None:
        if not (config.out / "model").exists():
            train(config, store=store, resume=(config.out / "config.json").exists())
        measure(config)
        print(config.out, file=sys.stderr, flush=True)


def evaluate_once(folder: Path, collections: Iterable[str]) -> None:
    """Evaluate the model of a run on collections, unless that is done."""
    if (folder / RESULT).exists():
        return
    model = folder / "model"
    encoder = longclip.load(model, dtype=torch.bfloat16)
    found = {
        name: evaluate(encoder, open_collection(name), name=str(model)).to_json()
        for name in collections
    }
    write_text(folder / RESULT, json.dumps(found) + "\n")


def read_results(out: Path, name: str, seeds: Iterable[int]) -> list[Any]:
    """Return what `evaluate_once` wrote of a run, for each seed that is done."""
    paths = [run_folder(out, name, seed) / RESULT for seed in seeds]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def number_at(result: Any, place: Sequence[str]) -> float:
    """Return a number of a result by the keys that lead to it."""
    for key in place:
        result = result[key]
    return float(result)


def percent_cell(values: Sequence[float]) -> str:
    """Write mean ± standard deviation of fractions of 1, in percent."""
    percent = [100 * value for value in values]
    spread = f" ± {statistics.stdev(percent):.1f}" if len(percent) > 1 else ""
    return f"{statistics.fmean(percent):.1f}{spread}"


def markdown_table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a table of named rows."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines)
