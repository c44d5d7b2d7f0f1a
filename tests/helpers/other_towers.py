"""Tiny models whose image tower is another library's, as that library saves them."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.openclip_library import open_clip
from tests.helpers.unigram import write_unigram

_TEXT = {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_VIT = {
    "timm_model_name": "test_vit",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 160,
}
_RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
KINDS = ("siglip", "timm", "resnet")
"""A SigLIP of transformers; a CLIP of OpenCLIP with a ViT of timm, and one with a ResNet."""


def write_model(kind: str, directory: Path) -> Path:
    """Write a model with random weights; the test is skipped where its library is missing."""
    pytest.importorskip("transformers")
    if kind != "siglip" and not find_spec("open_clip"):
        pytest.skip("needs open_clip")
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if kind == "siglip":
        _write_siglip(directory)
        return directory
    vision = _VIT if kind == "timm" else _RESNET
    described: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": _TEXT}
    library = open_clip()
    model = (library.model.CustomTextCLIP if kind == "timm" else library.model.CLIP)(**described)
    described |= {"custom_text": True} if kind == "timm" else {}
    for name, buffer in model.named_buffers():
        # Of no batch that comes in a test; wide enough that rectifiers let something through.
        if name.endswith("running_mean"):
            buffer.fill_(-0.1)
        elif name.endswith("running_var"):
            buffer.fill_(0.05)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "open_clip_model.safetensors")
    pictures = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = {"model_cfg": described, "preprocess_cfg": pictures}
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    return directory


def _write_siglip(directory: Path) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {**shape, "vocab_size": 49408, "max_position_embeddings": 64}
    vision = {**shape, "image_size": 32, "patch_size": 8}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    model.logit_scale.data.fill_(4.7)
    model.logit_bias.data.fill_(-10.0)
    model.save_pretrained(directory)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(directory)
    write_unigram(directory, tokenizer_class="T5Tokenizer", model_max_length=64, pad_token="<pad>")
