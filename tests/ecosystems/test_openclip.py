"""Directories of `convert --to openclip` in open_clip's own loader."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import longclip
from longclip.image import Preprocess
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from tests.helpers.models import small_clip
from tests.helpers.openclip_library import open_clip
from tests.helpers.plug_and_play import LONG_TEXTS, Saved, close


def with_activation(source: Path, directory: Path, activation: str) -> Path:
    """The same weights under a configuration that names another activation."""
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    (directory / "model.safetensors").symlink_to(source / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[tower]["hidden_act"] = activation
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.inference_mode()
def test_the_shape_of_vit_b_16(activation: str, vit_b16: Saved, tmp_path: Path) -> None:
    source = with_activation(vit_b16.directory, tmp_path / "hf", activation)
    ours = longclip.load(source)
    assert ours.config.text.hidden_act == activation
    convert(source, tmp_path / "openclip", "openclip")
    library = open_clip()
    theirs = library.create_model(f"local-dir:{tmp_path / 'openclip'}").eval()
    tokenizer = library.get_tokenizer(f"local-dir:{tmp_path / 'openclip'}")
    ids = tokenizer(LONG_TEXTS)
    assert ids.shape == (2, 248)
    close(theirs.encode_text(ids), ours.encode_text(LONG_TEXTS))
    close(theirs.encode_image(vit_b16.pixels), ours.encode_image(vit_b16.pixels))
    assert torch.equal(theirs.logit_scale, ours.logit_scale)


@torch.inference_mode()
def test_other_heads_inner_widths_and_pixels(tmp_path: Path) -> None:
    """An image tower with heads 32 wide and an inner width that is no multiple of the other."""
    config = CLIPConfig(
        text=TextConfig(64, 128, 2, 1),
        vision=VisionConfig(128, 333, 2, 4, image_size=32, patch_size=8),
        projection_dim=24,
    )
    ours = longclip.stretch(small_clip(config))
    ours.preprocess = Preprocess(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    longclip.save(ours, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "openclip", "openclip")
    library = open_clip()
    theirs = library.create_model(f"local-dir:{tmp_path / 'openclip'}").eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ids = library.get_tokenizer(f"local-dir:{tmp_path / 'openclip'}")(LONG_TEXTS)
    close(theirs.encode_text(ids), ours.encode_text(LONG_TEXTS))
    close(theirs.encode_image(pixels), ours.encode_image(pixels))
    preprocess = library.get_model_preprocess_cfg(theirs)
    assert tuple(preprocess["mean"]) == (0.5, 0.4, 0.3)
    assert tuple(preprocess["std"]) == (0.2, 0.3, 0.4)
    assert preprocess["interpolation"] == "bicubic"
    assert preprocess["resize_mode"] == "shortest"
