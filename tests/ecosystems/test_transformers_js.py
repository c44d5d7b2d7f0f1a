"""ONNX directories in transformers.js, which finds the files and makes ids and pixels itself."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import longclip
from longclip.export import export_onnx
from tests.ecosystems.conftest import SavedOnnx
from tests.helpers.onnx_files import assert_near

SOURCES = Path(__file__).parent / "transformers_js"
ROOT = Path(__file__).parents[2]
TEXTS = ["a red boat", "two old dogs on a bridge at dusk, and nobody else", "", "dog " * 400]


@pytest.fixture(scope="module")
def library() -> Path:
    """A folder with the pinned version and the script; kept under node_modules."""
    if not shutil.which("npm"):
        pytest.skip("needs npm")
    home = ROOT / "node_modules" / ".longclip" / "transformers-js"
    home.mkdir(parents=True, exist_ok=True)
    lock = (SOURCES / "package-lock.json").read_bytes()
    done = home / "installed-lock.json"
    for name in ("package.json", "package-lock.json", "embed.mjs"):
        shutil.copyfile(SOURCES / name, home / name)
    if not done.exists() or done.read_bytes() != lock:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        npm = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
        unreachable = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
        if any(f"code {reason}" in npm.stderr for reason in unreachable):
            pytest.skip("npm reaches no registry, and transformers.js is not installed yet")
        assert npm.returncode == 0, npm.stderr
        done.write_bytes(lock)
    return home


def picture_of(model: longclip.CLIP) -> Image.Image:
    """Noise of the model's own size: the library resizes with another filter."""
    size = model.preprocess.image_size
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def embed(library: Path, directory: Path, dtype: str, picture: Image.Image) -> dict[str, Any]:
    given = {"texts": TEXTS, "pixels": np.asarray(picture).ravel().tolist(), "size": picture.width}
    command = ["node", "embed.mjs", str(directory), dtype]
    node = subprocess.run(
        command, cwd=library, input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert node.returncode == 0, node.stderr
    found: dict[str, Any] = json.loads(node.stdout)
    return found


@pytest.mark.parametrize(("dtype", "share"), [("fp32", 1e-4), ("q8", 5e-2)])
def test_texts_and_pictures_have_the_same_embeddings(
    library: Path, saved_onnx: SavedOnnx, dtype: str, share: float
) -> None:
    model, picture = saved_onnx.model, picture_of(saved_onnx.model)
    found = embed(library, saved_onnx.onnx, dtype, picture)
    ids = model.token_ids(TEXTS, warn=False)
    assert ids.shape[1] == 248
    assert_near(np.array(found["text"]), model.encode_text(ids), share)
    assert_near(np.array(found["image"]), model.encode_image(picture), share)


def test_half_precision(library: Path, saved_onnx: SavedOnnx, tmp_path: Path) -> None:
    export_onnx(saved_onnx.directory, tmp_path / "onnx", precision="float16")
    model, picture = saved_onnx.model, picture_of(saved_onnx.model)
    found = embed(library, tmp_path / "onnx", "fp16", picture)
    expected = model.encode_text(model.token_ids(TEXTS, warn=False))
    assert_near(np.array(found["text"]), expected, 1e-2)
    assert_near(np.array(found["image"]), model.encode_image(picture), 1e-2)
