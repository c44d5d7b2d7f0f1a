"""A folder of made-up photos with captions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 of them."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos", 20)
