"""CLIPs whose weights are stored in parts that a stock CLIP has no names for."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import longclip
from longclip.checkpoints.formats.openai import from_huggingface
from longclip.errors import CheckpointError
from longclip.model.pretrained import open_checked
from tests.helpers.models import small_clip

POSITIONS = "text_model.embeddings.position_embedding"


def fg_clip(directory: Path) -> dict[str, Tensor]:
    """Turn a saved model into an FG-CLIP, with tables of 248 rows; return its tensors."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    short = tensors[f"{POSITIONS}.weight"]
    for name in ("ori", "res"):
        tensors[f"{POSITIONS}_{name}.weight"] = torch.randn(248, short.shape[1])
    tensors["text_filip_projection.weight"] = torch.randn_like(tensors["text_projection.weight"])
    save_file(tensors, path)
    return tensors


def test_fg_clips_long_path_is_a_clip(model_dir: Path) -> None:
    tensors = fg_clip(model_dir)
    checkpoint, _ = open_checked(model_dir)
    assert any("FG-CLIP" in note for note in checkpoint.notes)
    model = longclip.load(model_dir)
    assert model.context_length == 248
    table = model.text_model.embeddings.position_embedding.weight
    for row in range(248):
        source = "ori" if row < 20 else "res"
        assert torch.equal(table[row], tensors[f"{POSITIONS}_{source}.weight"][row])
    assert torch.equal(model.text_projection.weight, tensors["text_filip_projection.weight"])


def test_half_of_an_fg_clip_is_named(model_dir: Path) -> None:
    tensors = fg_clip(model_dir)
    del tensors["text_filip_projection.weight"]
    save_file(tensors, model_dir / "model.safetensors")
    with pytest.raises(CheckpointError, match="without text_filip_projection"):
        longclip.load(model_dir)


class GeometricLinear(torch.nn.Module):
    """The layer of the community's fine-tunes: a radius and a direction for each output."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.r = torch.nn.Parameter(weight.norm(dim=1, keepdim=True) * 1.25)
        self.theta = torch.nn.Parameter(weight * 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.r * F.normalize(self.theta, p=2, dim=1))


@pytest.mark.parametrize("names", ["openai", "huggingface"])
def test_geometric_weights_are_plain_again(names: str, tmp_path: Path) -> None:
    model = small_clip()
    plain: dict[str, Any] = dict(model.state_dict())
    ending = "mlp.fc1.weight"
    if names == "openai":
        plain, ending = dict(from_huggingface(plain)), "mlp.c_fc.weight"
    stored, layers = {}, {}
    for name, tensor in plain.items():
        if name.endswith(ending):
            layers[name] = layer = GeometricLinear(tensor)
            stem = name.removesuffix(".weight")
            stored |= {f"{stem}.r": layer.r.data, f"{stem}.theta": layer.theta.data}
        else:
            stored[name] = tensor
    assert layers
    torch.save({name: tensor.clone() for name, tensor in stored.items()}, tmp_path / "gmp.pt")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_json()))
    checkpoint, _ = open_checked(tmp_path / "gmp.pt")
    assert any("geometric" in note for note in checkpoint.notes)
    found = from_huggingface(checkpoint.tensors) if names == "openai" else checkpoint.tensors
    for name, layer in layers.items():
        x = torch.randn(4, layer.theta.shape[1])
        torch.testing.assert_close(x @ found[name].T, layer(x))
