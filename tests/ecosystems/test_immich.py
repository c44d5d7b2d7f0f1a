"""Directories of `convert --to immich`, read as Immich reads them.

Immich is no library that could be called here. What its machine learning service does was read in
its repository (immich-app/immich, machine-learning/immich_ml/models/clip) and is done again below:

- config.json is OpenCLIP's model configuration; of it are read `text_cfg.context_length` and
  `text_cfg.tokenizer_kwargs.clean`.
- textual/tokenizer.json is read by `tokenizers`; texts are padded to the context length with the
  `pad_token` of textual/tokenizer_config.json, and cut there.
- textual/model.onnx takes `text`, int32 [1, context]; visual/model.onnx takes `image`, float32
  [1, 3, H, W]. The first row of the first output is stored, and compared as it is: nothing else
  divides it by its length.
- visual/preprocess_cfg.json: `size`, `interpolation`, `mean`, `std`, `resize_mode`.
"""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer

import longclip
from longclip.errors import CheckpointError
from longclip.export import export_onnx
from longclip.model import CLIPConfig
from tests.helpers import matrix_families
from tests.helpers.models import SMALL, small_clip
from tests.helpers.onnx_files import Array, assert_near, interface, run_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TEXTS = ["a red boat", "two old dogs on a bridge at dusk, and nobody else", "", "dog " * 400]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def embed_text(directory: Path, text: str) -> Array:
    config = read_json(directory / "config.json")["text_cfg"]
    pad = read_json(directory / "textual/tokenizer_config.json")["pad_token"]
    tokenizer = Tokenizer.from_file(str(directory / "textual/tokenizer.json"))
    length = config.get("context_length", 77)
    tokenizer.enable_padding(length=length, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    tokenizer.enable_truncation(max_length=length)
    text = " ".join(text.split())
    if (config.get("tokenizer_kwargs") or {}).get("clean") == "canonicalize":
        text = text.translate(str.maketrans("", "", string.punctuation)).lower()
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int32)
    return run_onnx(directory / "textual/model.onnx", ids)


def embed_picture(directory: Path, picture: Image.Image) -> Array:
    config = read_json(directory / "visual/preprocess_cfg.json")
    size = config["size"][0] if isinstance(config["size"], list) else config["size"]
    filter_ = Image.Resampling[config["interpolation"].upper()]
    if config["resize_mode"] == "squash":
        picture = picture.resize((size, size), filter_)
    else:
        assert config["resize_mode"] == "shortest"
        short = min(picture.size)
        width, height = (int(size * side / short) for side in picture.size)
        left, top = int((width - size) / 2), int((height - size) / 2)
        picture = picture.resize((width, height), filter_)
        picture = picture.crop((left, top, left + size, top + size))
    pixels = (np.asarray(picture, np.float32) / 255 - config["mean"]) / config["std"]
    batch = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    return run_onnx(directory / "visual/model.onnx", batch)


def compare(model: longclip.CLIP, directory: Path, texts: list[str]) -> None:
    for text in texts:
        ids = model.token_ids(text, warn=False)
        expected = model.encode_text(ids, normalize=True)
        assert_near(embed_text(directory, text), expected)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    assert_near(embed_picture(directory, picture), model.encode_image(picture, normalize=True))


def test_a_stretched_model(tmp_path: Path) -> None:
    model = longclip.stretch(small_clip())
    longclip.save(model, tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "immich", "immich")
    assert read_json(tmp_path / "immich/config.json")["text_cfg"]["context_length"] == 248
    assert interface(tmp_path / "immich/textual/model.onnx") == {
        "text": ("tensor(int32)", [1, 248]),
        "embedding": ("tensor(float)", [1, 24]),
    }
    assert interface(tmp_path / "immich/visual/model.onnx") == {
        "image": ("tensor(float)", [1, 3, 32, 32]),
        "embedding": ("tensor(float)", [1, 24]),
    }
    compare(model, tmp_path / "immich", TEXTS)


def test_a_model_that_reads_padding(tmp_path: Path) -> None:
    source = matrix_families.siglip(tmp_path)
    export_onnx(source.path, tmp_path / "immich", "immich")
    texts = ["A red dog, in the OLD house!", *source.texts]
    compare(longclip.load(source.path), tmp_path / "immich", texts)


def test_one_tower_is_refused(tmp_path: Path) -> None:
    config = CLIPConfig(text=SMALL.text, vision=None, projection_dim=24)
    longclip.save(small_clip(config), tmp_path / "model")
    with pytest.raises(CheckpointError, match="one tower alone, and Immich needs both"):
        export_onnx(tmp_path / "model", tmp_path / "immich", "immich")
    assert not (tmp_path / "immich").exists()
