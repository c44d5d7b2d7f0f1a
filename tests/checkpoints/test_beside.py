"""A weight file is read with the configuration beside it, as its directory is."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import longclip
from longclip.checkpoints.formats.openai import from_huggingface
from longclip.checkpoints.write import Storing
from longclip.errors import CheckpointError
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from longclip.model.pretrained import AssumptionWarning, open_checked
from tests.helpers.models import small_clip

TEXT = TextConfig(
    64,
    64,
    1,
    4,
    "gelu",
    1e-3,
    vocab_size=40,
    max_position_embeddings=8,
    eos_token_id=37,
)
VISION = VisionConfig(64, 64, 1, 2, "gelu", 1e-4, image_size=16, patch_size=8)


def model() -> CLIP:
    """A model of which shapes show little: heads, eps, activation, end and mean are its own."""
    clip = small_clip(CLIPConfig(TEXT, VISION, 8))
    clip.preprocess = Preprocess(16, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    return clip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    longclip.save(model(), tmp_path / "model")
    return tmp_path / "model"


def assert_same(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", AssumptionWarning)
        found = longclip.load(path)
    assert found.config == model().config
    assert found.preprocess == model().preprocess


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.fp16.safetensors", "mine.safetensors", "pytorch_model.bin"]
)
def test_weights_of_hugging_faces_beside_their_config(name: str, saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    (saved / "model.safetensors").unlink()
    if name.endswith(".bin"):
        torch.save(tensors, saved / name)
    else:
        save_file(tensors, saved / name)
    assert_same(saved / name)
    with pytest.raises(CheckpointError, match="leave out --activation"):
        longclip.load(saved / name, activation="gelu")


def test_convert_keeps_what_is_beside(saved: Path, tmp_path: Path) -> None:
    convert(saved / "model.safetensors", tmp_path / "again")
    assert_same(tmp_path / "again")


def test_an_index_of_shards_and_one_of_them(saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "shards", shard_bytes=30_000)
    assert Storing().shard_bytes > 30_000
    assert_same(tmp_path / "shards" / "model.safetensors.index.json")
    shard = next((tmp_path / "shards").glob("model-00001-of-*"))
    with pytest.raises(CheckpointError, match=r"one of \d+ parts of a model; name their directory"):
        longclip.load(shard)


def test_a_lone_tower_beside_the_config_of_the_whole(saved: Path) -> None:
    tower = {n: t for n, t in model().state_dict().items() if n.startswith("text_")}
    save_file(tower, saved / "text.safetensors")
    assert longclip.load(saved / "text.safetensors").config.text == TEXT


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "mine.bin"])
def test_weights_of_openclips_beside_their_config(name: str, tmp_path: Path) -> None:
    text, vision = (replace(part, layer_norm_eps=1e-5) for part in (TEXT, VISION))
    text = replace(text, vocab_size=49408, eos_token_id=49407)
    clip = small_clip(CLIPConfig(text, vision, 8))
    longclip.save(clip, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "oc", "openclip")
    (tmp_path / "oc" / "open_clip_model.safetensors").unlink()
    tensors = {n: t.contiguous() for n, t in from_huggingface(clip.state_dict()).items()}
    path = tmp_path / "oc" / name
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    found = longclip.load(path).config
    assert found.text == text
    assert found.vision == vision


def test_the_config_of_another_model_is_left_aside(saved: Path) -> None:
    other = small_clip(CLIPConfig(replace(TEXT, hidden_size=128), VISION, 8)).state_dict()
    save_file(other, saved / "other.safetensors")
    checkpoint, _ = open_checked(saved / "other.safetensors")
    assert "config.json beside it describes another model" in checkpoint.notes[0]
    assert "gelu was assumed" in checkpoint.notes[1]


def test_what_is_assumed_is_said(saved: Path) -> None:
    (saved / "config.json").write_text(json.dumps({"recipe": "paper", "lr": 1}))  # a run's
    with pytest.warns(AssumptionWarning, match=r"model\.safetensors: the activation .* assumed"):
        longclip.load(saved / "model.safetensors")


def test_towers_that_are_described_twice_are_read_as_by_transformers(saved: Path) -> None:
    path = saved / "config.json"
    config = json.loads(path.read_text())
    expected = longclip.load(saved).config
    twice = config["text_config"] | {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    for both in (
        {"text_config": twice, "text_config_dict": config["text_config"]},
        {"vision_config": None, "vision_config_dict": config["vision_config"]},
        {"text_config_dict": None, "vision_config_dict": None},
    ):
        path.write_text(json.dumps(config | both))
        assert longclip.load(saved).config == expected
        assert longclip.load(saved / "model.safetensors").config == expected
