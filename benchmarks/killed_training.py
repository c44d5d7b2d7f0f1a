"""Kill a training process again and again, at random moments, and resume it.

Every run must end with the very weights of one that nothing happened to, and leave nothing behind.

    python benchmarks/killed_training.py --kills 100
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from longclip.training import RECIPES, TrainConfig, train

_TOWER = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_ARCHITECTURE = {
    "projection_dim": 32,
    "text_config": _TOWER,
    "vision_config": _TOWER | {"image_size": 32, "patch_size": 16},
}
_ENDED = {"checkpoints", "config.json", "data.json", "metrics.jsonl", "model", "writer.json"}


def make_config(folder: Path) -> TrainConfig:
    """Write made-up photos and a small architecture; return a run of some seconds."""
    random_pixels = np.random.default_rng(0)
    with (folder / "photos.jsonl").open("w") as lines:
        for i in range(24):
            pixels = random_pixels.integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            text = f"Noise number {i}. " + f"It has {i} spots, and {2 * i} lines. " * 9
            lines.write(json.dumps({"image": f"{i}.png", "short": f"noise {i}", "long": text}))
            lines.write("\n")
    (folder / "architecture.json").write_text(json.dumps(_ARCHITECTURE))
    return replace(
        RECIPES["best"](),
        scratch=str(folder / "architecture.json"),
        data=(str(folder / "photos.jsonl"),),
        steps=12,
        batch_size=8,
        lr=1e-3,
        pcm_components=4,
        workers=1,
        log_every=1,
        checkpoint_every=2,
        device="cpu",
        dtype="float32",
    )


def start(config: TrainConfig) -> int:
    """Fork a process that begins the run or goes on in it; importing torch anew would take longer.

    Returns its number.
    """
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        warnings.simplefilter("ignore")
        train(config, resume=(config.out / "config.json").exists())
        status = 0
    finally:
        os._exit(status)


def moment(run: Path) -> str:
    """Say what a process that was killed was doing."""
    if not (run / "config.json").exists():
        return "before it had begun"
    if list(run.glob(".model.*")):
        return "while it wrote the model"
    if (run / "model").exists():
        return "after it had written the model"
    if list((run / "checkpoints").glob(".step-*")):
        return "while it wrote a checkpoint"
    return "between checkpoints" if (run / "checkpoints").exists() else "before the first one"


def result(run: Path) -> tuple[bytes, list[float]]:
    """Return the weights and the losses that a run has ended with."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    weights = (run / "model" / "model.safetensors").read_bytes()
    return weights, [values["loss"] for values in lines]


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, moments, ended = random.Random(arguments.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = make_config(folder)
        began = time.perf_counter()
        whole = replace(config, out=folder / "whole")
        assert os.waitpid(start(whole), 0)[1] == 0
        seconds, expected = time.perf_counter() - began, result(whole.out)
        print(f"a run that nothing happens to takes {seconds:.1f} s", flush=True)
        while moments.total() < arguments.kills:
            run = replace(config, out=folder / f"run-{ended}")
            while True:
                child, until = start(run), time.perf_counter() + chance.uniform(0.02, seconds)
                while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
                    if time.perf_counter() >= until and moments.total() < arguments.kills:
                        os.kill(child, signal.SIGKILL)
                        status = os.waitpid(child, 0)
                        break
                    time.sleep(0.001)
                if not os.WIFSIGNALED(status[1]):
                    assert status[1] == 0, "a run that was resumed has failed"
                    break
                moments[moment(run.out)] += 1
                print(f"{moments.total()} kills, {ended} runs have ended", end="\r", flush=True)
            ended += 1
            assert result(run.out) == expected, f"{run.out} has ended with other weights or losses"
            assert {path.name for path in run.out.iterdir()} == _ENDED
            assert len(list((run.out / "checkpoints").iterdir())) == 1
    print(f"{moments.total()} kills, {ended} runs: all the same weights, nothing left behind")
    for what, count in moments.most_common():
        print(f"  {count:4} {what}")


if __name__ == "__main__":
    main()
