"""The same directories in transformers 4, which many servers still have.

Version 4 fills what it does not find with random numbers and only warns, so every weight is asked
for. It lives in a virtual environment of its own that borrows torch and numpy from this one.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import longclip
from longclip.model.convert import convert
from tests.helpers.plug_and_play import TEXTS, Saved, close

PINS = ["transformers==4.57.6", "huggingface_hub==0.36.2", "tokenizers==0.22.2"]
SCRIPT = Path(__file__).parents[1] / "helpers" / "old_transformers.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def old_python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with the pinned versions; kept in pytest's cache."""
    cache = request.config.cache
    assert cache
    home = cache.mkdir("transformers-4")
    done = home / "-".join([*PINS, sys.version.split()[0]])
    python = home / "bin" / "python"
    if not done.exists():
        venv.create(home, clear=True, with_pip=False)
        base = {"base": str(home), "platbase": str(home)}
        site = Path(sysconfig.get_path("purelib", scheme="venv", vars=base))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--target", str(site), *PINS]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        if "(from versions: none)" in pip.stderr:
            pytest.skip(f"pip reaches no package index, and {PINS[0]} is not installed yet")
        assert pip.returncode == 0, pip.stderr
        # What is not installed here is looked for there.
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        done.touch()
    return python


@pytest.fixture(scope="module")
def found(
    old_python: Path, vit_b16: Saved, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float32]]:
    """What version 4 wrote."""
    work = tmp_path_factory.mktemp("old")
    convert(vit_b16.directory, work / "tower", "hf-text")
    np.savez(
        work / "in.npz", texts=TEXTS, pixels=vit_b16.pixels.numpy(), picture=np.asarray(picture())
    )
    command = [old_python, SCRIPT, vit_b16.directory, work / "tower"]
    run = subprocess.run(
        [*command, work / "in.npz", work / "out.npz"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )
    assert run.returncode == 0, run.stderr
    assert "newly initialized" not in run.stderr
    return dict(np.load(work / "out.npz"))


def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_it_is_version_4(found: dict[str, NDArray[np.float32]]) -> None:
    assert found["versions"].tolist() == PINS


def test_texts_are_248_tokens_long(found: dict[str, NDArray[np.float32]]) -> None:
    assert found["lengths"].tolist() == [248] * 5
    ours = longclip.tokenize(TEXTS)
    assert np.array_equal(found["ids"][:, : ours.shape[1]], ours)


def test_every_class_gives_the_same_embeddings(
    found: dict[str, NDArray[np.float32]], vit_b16: Saved
) -> None:
    text = [name for name in found if name.startswith("text ")]
    image = [name for name in found if name.startswith("image ")]
    assert len(text) == 6
    assert len(image) == 3
    for name in text:
        close(torch.from_numpy(found[name]), vit_b16.text)
    for name in image:
        close(torch.from_numpy(found[name]), vit_b16.image)


def test_its_processor_gives_the_same_pixels(
    found: dict[str, NDArray[np.float32]], vit_b16: Saved
) -> None:
    close(torch.from_numpy(found["picture"]), vit_b16.model.preprocess(picture()))
