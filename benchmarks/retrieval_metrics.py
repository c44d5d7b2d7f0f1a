"""Recall from embeddings: longclip's time beside clip_benchmark's, and the memory it takes.

    python benchmarks/retrieval_metrics.py --images 5000 --texts-per-image 5
    python benchmarks/retrieval_metrics.py --memory

Random embeddings, with texts near their images. First the numbers of both must be equal: recall
at 1, 5 and 10, both ways. Then they take turns, round after round, so that whatever else the
machine does hits both alike; a contestant's time is the median of its rounds. clip_benchmark is
given its embeddings for nothing: an encoder that hands through what it gets. Its batch size is
the one that it has by default, 64.

`--memory` runs the two largest tasks of the suite in a process of their own each, and prints the
highest memory of that process beyond the embeddings: all of Flickr30k (31,014 images, 155,070
texts) and ImageNet (50,000 images, 1,000 classes).

clip_benchmark asks for torchvision, which its metrics do not need: install it with
`pip install --no-deps clip_benchmark`; only the one file is run.
"""

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import torch
from cyclopts import Parameter

from figures import Figure, record
from longclip.evaluation import retrieval_recall, top1_accuracy

KS = (1, 5, 10)
BATCH_SIZE = 64
Pool = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Recalls = dict[str, float]


class Identity:
    """Module whose input is the embedding already."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """The images."""
        return images

    def encode_text(self, texts: torch.Tensor) -> torch.Tensor:
        """The texts."""
        return texts


def random_pool(images: int, texts_per_image: int, width: int, noise: float) -> Pool:
    """Images, texts and the image of each text; float32, not of length one."""
    generator = torch.Generator().manual_seed(0)
    image_rows = torch.randn(images, width, generator=generator)
    owners = torch.arange(images).repeat_interleave(texts_per_image)
    texts = torch.randn(images, texts_per_image, width, generator=generator)
    # In place, so that the memory peak before a measurement is that of the embeddings alone.
    texts.mul_(noise).add_(image_rows[:, None])
    return image_rows, texts.flatten(0, 1), owners


def ours(pool: Pool) -> Recalls:
    """Recalls by longclip."""
    found = retrieval_recall(*pool, ks=KS)
    return {f"I2T R@{k}": found.image_to_text[k] for k in KS} | {
        f"T2I R@{k}": found.text_to_image[k] for k in KS
    }


def peers_module() -> Any:
    """clip_benchmark.metrics.zeroshot_retrieval, without the package around it."""
    package = importlib.util.find_spec("clip_benchmark")
    if package is None or package.origin is None:
        raise SystemExit("needs the peer: pip install --no-deps clip_benchmark")
    path = Path(package.origin).parent / "metrics" / "zeroshot_retrieval.py"
    spec = importlib.util.spec_from_file_location("zeroshot_retrieval", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peers(module: Any, pool: Pool) -> Recalls:
    """Recalls by clip_benchmark."""
    images, texts, owners = pool
    of_image = texts.view(len(images), len(owners) // len(images), -1)
    batches = [
        (images[start : start + BATCH_SIZE], list(of_image[start : start + BATCH_SIZE]))
        for start in range(0, len(images), BATCH_SIZE)
    ]
    module.tqdm = lambda items: items
    found = module.evaluate(
        Identity(), batches, torch.stack, "cpu", amp=False, recall_k_list=list(KS)
    )
    # It names what is retrieved, we name query and answer.
    return {f"I2T R@{k}": found[f"text_retrieval_recall@{k}"] for k in KS} | {
        f"T2I R@{k}": found[f"image_retrieval_recall@{k}"] for k in KS
    }


def compare(pool: Pool, rounds: int) -> dict[str, Any]:
    """Seconds of both, in turns, after their numbers have been found equal."""
    module = peers_module()
    contestants: dict[str, Callable[[], Recalls]] = {
        "longclip": lambda: ours(pool),
        "clip_benchmark": lambda: peers(module, pool),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        found = {}
        for name, recalls in contestants.items():
            began = time.perf_counter()
            found[name] = recalls()
            seconds[name].append(time.perf_counter() - began)
        apart = max(
            abs(value - found["clip_benchmark"][key]) for key, value in found["longclip"].items()
        )
        if apart > 1e-6:  # theirs are means in float32
            raise SystemExit(f"longclip and clip_benchmark disagree: {found}")
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "recalls": found["longclip"],
        "seconds": seconds,
        "median": median,
        "ratio": median["clip_benchmark"] / median["longclip"],
    }


def retrieval_task(width: int) -> Callable[[], object]:
    """Return the task of ranking as many embeddings as Flickr30k has."""
    pool = random_pool(31_014, 5, width, noise=8)
    return lambda: ours(pool)


def classification_task(width: int) -> Callable[[], object]:
    """ImageNet."""
    images, classes, targets = random_pool(1_000, 50, width, noise=8)
    return lambda: top1_accuracy(classes, images, targets)


TASKS = {"flickr30k-all": retrieval_task, "imagenet": classification_task}


def peak_megabytes() -> float:
    """The highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measure_memory(task: str, width: int) -> dict[str, float]:
    """Measure one task in this process: memory with its embeddings, and what comes on top."""
    run = TASKS[task](width)
    before = peak_megabytes()
    began = time.perf_counter()
    run()
    return {
        "seconds": time.perf_counter() - began,
        "megabytes with embeddings": before,
        "megabytes on top": peak_megabytes() - before,
    }


def main(
    *,
    images: int = 5000,
    texts_per_image: int = 5,
    width: int = 512,
    rounds: int = 3,
    threads: int = os.cpu_count() or 1,
    memory: bool = False,
    task: Annotated[str | None, Parameter(show=False)] = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare the time of recall with clip_benchmark's, or measure memory.

    Args:
        images: in the pool.
        texts_per_image: 5 as in COCO.
        width: of the embeddings.
        rounds: turns of each contestant.
        threads: for torch; NumPy follows OMP_NUM_THREADS, which is set to the same.
        memory: measure memory instead.
        task: one task of `--memory`, in this process.
        json_file: where to write setting and results as well.
    """
    if os.environ.get("OMP_NUM_THREADS") != str(threads):
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read once, when NumPy is imported
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(threads)
    if task is not None:
        print(json.dumps(measure_memory(task, width)))
        return
    if memory:
        command = [sys.executable, __file__, "--width", str(width), "--threads", str(threads)]
        results: dict[str, Any] = {}
        for name in TASKS:
            run = subprocess.run([*command, "--task", name], check=True, capture_output=True)
            results[name] = json.loads(run.stdout)
            print(name, {key: round(value, 1) for key, value in results[name].items()})
    else:
        results = compare(random_pool(images, texts_per_image, width, noise=8), rounds)
        print(results["recalls"])
        for name, median in results["median"].items():
            print(f"{name:15} {median:8.2f} s")
        ours, theirs = results["median"]["longclip"], results["median"]["clip_benchmark"]
        what = f"{images:,} images, {images * texts_per_image:,} texts"
        record(Figure(what, "s", ours, "clip_benchmark", theirs, lower_is_better=True))
        print(f"clip_benchmark / longclip: {results['ratio']:.1f}")
    setting = {name: version(name) for name in ("torch", "numpy", "clip_benchmark")}
    setting |= {"threads": str(threads), "width": str(width)}
    print(setting)
    if json_file is not None:
        whole = {"setting": setting, "results": results}
        json_file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
