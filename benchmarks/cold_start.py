"""Seconds and memory of commands that start in a new process: search, help, import.

    python benchmarks/cold_start.py --out runs/cold-start

Every command is a process of its own; they run in turns, and the medians are told. `CPU` is what
the process computed in all its threads, which other work on the machine changes little.

Beside ours: other programs that search folders of pictures. Neither can be run whole without
fetching its weights, so theirs is a lower bound: the imports that their own query command makes
before it loads a model. They are found on PYTHONPATH, e.g. `pip install --no-deps --target peers
rclip clip-retrieval faiss-cpu`, `PYTHONPATH=peers`; what is not there is left out.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from figures import Figure, record

TEXT = "A lighthouse at dusk. A red boat waits below it."
PICTURES = 40
LONGCLIP = ("-m", "longclip")
PEERS = {
    "rclip, its imports alone": "import rclip.main, onnxruntime, numpy",
    "clip-retrieval, its imports alone": "import faiss, torch, pandas, PIL.Image",
}
"""What the query commands of these programs import: `rclip TEXT` and `clip-retrieval filter`."""


@dataclass(frozen=True)
class Cost:
    """What one process took: wall and CPU seconds, and its peak of memory in MB."""

    seconds: float
    cpu: float
    memory: float


def measure(words: tuple[str, ...]) -> Cost:
    """Run Python with these words, and measure that process alone."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{said.decode(errors='replace')}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6)


def make_database(place: Path, architecture: str) -> None:
    """Index some drawn scenes, with random weights where the model is not nano."""
    import longclip
    from longclip.data import open_collection
    from longclip.search import index

    photos = place / "photos"
    if not photos.exists():
        photos.mkdir(parents=True)
        scenes = open_collection("scenes/test")
        for number in range(PICTURES):
            scenes.image(number).save(photos / f"{number}.png")
    model, db = architecture, database(place, architecture)
    if architecture != "nano":
        import torch

        from longclip.model import CLIP
        from longclip.model.architectures import ARCHITECTURES

        model = db.removesuffix(".db")
        if not Path(model).exists():
            torch.manual_seed(0)
            stock = CLIP(ARCHITECTURES[architecture])
            longclip.save(longclip.stretch(stock), model)
    if not Path(db).exists():
        index([photos], db, longclip.load(model), model_name=model)


def database(place: Path, architecture: str) -> str:
    """Return the place of the database of a model."""
    return str(place / f"{architecture.replace('/', '-')}.db")


def installed(code: str) -> bool:
    """Return whether a program's imports can be made at all."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def main() -> None:
    """Measure everything in turns, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/cold-start"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", default=["nano", "ViT-B/16"])
    a = parser.parse_args()
    commands: dict[str, tuple[str, ...]] = {
        "python": ("-c", "pass"),
        "import longclip": ("-c", "import longclip"),
        "longclip --help": (*LONGCLIP, "--help"),
        "longclip search --help": (*LONGCLIP, "search", "--help"),
    }
    for model in a.models:
        # In another process: a process that is measured begins with the memory of this one.
        maker = get_context("spawn").Process(target=make_database, args=(a.out, model))
        maker.start()
        maker.join()
        words = (*LONGCLIP, "search", TEXT, "--db", database(a.out, model))
        picture = ("--image", str(a.out / "photos" / "0.png"))
        commands |= {
            f"search, {model}": words,
            f"search, {model}, with --image": (*words, *picture),
            f"search, {model}, by torch": (*words, "--engine", "torch"),
        }
    commands |= {name: ("-c", code) for name, code in PEERS.items() if installed(code)}
    for words in commands.values():
        measure(words)  # files into memory, digests of models noted
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(a.rounds):
        for name, words in commands.items():
            costs[name].append(measure(words))
    print(f"{'':<40}{'seconds':>9}{'least':>8}{'CPU s':>8}{'MB':>7}")
    middle: dict[str, Cost] = {}
    for name, each in costs.items():
        of = {kind: [getattr(cost, kind) for cost in each] for kind in ("seconds", "cpu", "memory")}
        middle[name] = Cost(*map(statistics.median, of.values()))
        best, m = min(of["seconds"]), middle[name]
        print(f"{name:<40}{m.seconds:>9.2f}{best:>8.2f}{m.cpu:>8.2f}{m.memory:>7.0f}")
    peers = [name for name in PEERS if name in middle]
    best_peer = min(peers, key=lambda name: middle[name].seconds, default="")
    for name, m in middle.items():
        if name.startswith("longclip") or name == "import longclip":
            record(Figure(name, "s", m.seconds, lower_is_better=True))
        elif name.startswith("search") and not name.endswith("by torch"):
            theirs = middle[best_peer].seconds if best_peer else None
            record(Figure(name, "s", m.seconds, best_peer, theirs, lower_is_better=True))


if __name__ == "__main__":
    main()
