"""A training run that takes a second, and pictures for it."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from longclip.errors import Preempted
from longclip.training import TrainConfig, train
from longclip.training.recipes import paper

CONFIG = {
    "projection_dim": 16,
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    },
}


COLOURS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 210)}


def write_photos(folder: Path, count: int) -> Path:
    """A JSON-lines file beside `count` pictures with short and long captions."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names = list(COLOURS)
    with (folder / "photos.jsonl").open("w") as lines:
        for i in range(count):
            colour = names[i % 3]
            pixels = np.full((40, 48, 3), COLOURS[colour], np.uint8)
            pixels[:, : 8 + i] = random.integers(0, 255, 3)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            row = {
                "image": f"{i}.png",
                "short": [f"a {colour} wall", f"something {colour}"],
                "long": f"A {colour} wall. " + f"It has a stripe that is {8 + i} wide. " * 9,
            }
            lines.write(json.dumps(row) + "\n")
    return folder / "photos.jsonl"


def write_described_photos(folder: Path, count: int) -> Path:
    """A JSON-lines file beside as many pictures whose long captions have few words in common."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    words = ["red", "blue", "wall", "river", "horse", "lamp", "seven", "old", "glass", "under"]
    with (folder / "photos.jsonl").open("w") as lines:
        for i in range(count):
            Image.fromarray(random.integers(0, 255, (40, 48, 3), np.uint8)).save(
                folder / f"{i}.png"
            )
            text = " ".join(random.choice(words, 5 + i))
            lines.write(json.dumps({"image": f"{i}.png", "long": f"{text}."}) + "\n")
    return folder / "photos.jsonl"


def train_until(config: TrainConfig, last: int, **arguments: Any) -> None:
    """Train as far as step `last`, where a signal ends the run with a checkpoint."""

    def stop(step: int, total: int, note: str) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted):
        train(config, on_step=stop, **arguments)


def tiny_config(photos: Path, out: Path, recipe: TrainConfig | None = None) -> TrainConfig:
    """The paper's recipe on a few made-up photos, from random weights."""
    scratch = out.parent / "architecture.json"
    scratch.write_text(json.dumps(CONFIG))
    return replace(
        recipe or paper(),
        scratch=str(scratch),
        data=(str(photos),),
        out=out,
        steps=5,
        batch_size=8,
        lr=1e-3,
        pcm_components=4,
        workers=0,
        log_every=1,
        checkpoint_every=2,
    )
