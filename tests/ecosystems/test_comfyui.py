"""Files of `convert --to comfyui`, against what ComfyUI's published loader expects.

ComfyUI is no library that could be called here. What its loader needs was read in its repository
(comfyanonymous/ComfyUI) and is written down below as facts:

- comfy/sd.py, `detect_te_model`: a text tower is CLIP-G if it has a layer 30, else CLIP-H if it has
  a layer 22, else CLIP-L; names are those of transformers 4, `text_model.` in front.
- comfy/clip_model.py: `text_projection.weight` belongs to a linear layer, so it is [joint, width];
  queries, keys and values are separate; token and position tables are `…_embedding.weight`.
- comfy/text_encoders/long_clipl.py: the position table of a CLIP-L or CLIP-G may have any length
  (at first only 77 and 248), which becomes the tokenizer's length too.
- comfy/sd1_clip_config.json, comfy/clip_config_bigg.json, comfy/text_encoders/sd2_clip_config.json:
  widths, depths, and the activation, which it takes from the kind: quick-GELU for CLIP-L, GELU for
  the other two.
- comfy/sd1_clip.py, `load_sd`: left-over names are ignored, so a misspelt one would go unnoticed.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import longclip
from longclip.checkpoints import write
from longclip.errors import CheckpointError
from longclip.model import CLIP, TextConfig
from longclip.model.convert import convert
from tests.helpers.models import SMALL, small_clip

# Depth and activation of the three text towers it knows.
KINDS = {"CLIP_L": (12, "quick_gelu"), "CLIP_H": (24, "gelu"), "CLIP_G": (32, "gelu")}


@pytest.fixture
def small_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small text towers stand for the real ones."""
    monkeypatch.setattr(write, "COMFYUI_WIDTHS", {"CLIP-L": 64, "CLIP-G": 64})


def kind_of(names: set[str]) -> str:
    for layer, kind in ((30, "CLIP_G"), (22, "CLIP_H"), (0, "CLIP_L")):
        if f"text_model.encoder.layers.{layer}.mlp.fc1.weight" in names:
            return kind
    return "nothing"


def expected_shapes(layers: int, width: int, inner: int, length: int) -> dict[str, list[int]]:
    """Every tensor that ComfyUI's text tower has."""
    shapes = {
        "text_model.embeddings.token_embedding.weight": [49408, width],
        "text_model.embeddings.position_embedding.weight": [length, width],
        "text_model.final_layer_norm.weight": [width],
        "text_model.final_layer_norm.bias": [width],
        "text_projection.weight": [width, width],
    }
    for layer in range(layers):
        prefix = f"text_model.encoder.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"{prefix}.self_attn.{part}.weight"] = [width, width]
            shapes[f"{prefix}.self_attn.{part}.bias"] = [width]
        for part in ("layer_norm1", "layer_norm2"):
            shapes[f"{prefix}.{part}.weight"] = [width]
            shapes[f"{prefix}.{part}.bias"] = [width]
        shapes[f"{prefix}.mlp.fc1.weight"] = [inner, width]
        shapes[f"{prefix}.mlp.fc1.bias"] = [inner]
        shapes[f"{prefix}.mlp.fc2.weight"] = [width, inner]
        shapes[f"{prefix}.mlp.fc2.bias"] = [width]
    return shapes


def clip_with(layers: int, activation: str, width: int = 64) -> CLIP:
    text = TextConfig(width, 4 * width, layers, max(1, width // 64), hidden_act=activation)
    return longclip.stretch(small_clip(replace(SMALL, text=text, projection_dim=width)))


def written(model: CLIP, directory: Path, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    longclip.save(model, directory / "hf")
    convert(directory / "hf", directory / "clip.safetensors", "comfyui", dtype=dtype)
    return load_file(directory / "clip.safetensors")


@pytest.mark.usefixtures("small_towers")
@pytest.mark.parametrize("kind", ["CLIP_L", "CLIP_G"])
def test_names_shapes_and_kinds(kind: str, tmp_path: Path) -> None:
    layers, activation = KINDS[kind]
    model = clip_with(layers, activation)
    found = written(model, tmp_path, torch.float16)
    assert kind_of(set(found)) == kind
    shapes = {name: list(tensor.shape) for name, tensor in found.items()}
    assert shapes == expected_shapes(layers, 64, 256, 248)
    state = model.state_dict()
    for name, tensor in found.items():
        assert tensor.dtype == torch.float16
        assert torch.equal(tensor, state[name].half())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "width"), [("CLIP_L", 768), ("CLIP_G", 1280)], ids=["CLIP_L", "CLIP_G"]
)
def test_real_shapes(kind: str, width: int, tmp_path: Path) -> None:
    layers, activation = KINDS[kind]
    longclip.save(clip_with(layers, activation, width), tmp_path / "hf", dtype=torch.float16)
    convert(tmp_path / "hf", tmp_path / "clip.safetensors", "comfyui")
    with safe_open(tmp_path / "clip.safetensors", "pt") as file:
        names = list(file.keys())
        shapes = {name: file.get_slice(name).get_shape() for name in names}
        dtypes = {file.get_slice(name).get_dtype() for name in names}
    assert shapes == expected_shapes(layers, width, 4 * width, 248)
    assert dtypes == {"F16"}


@pytest.mark.usefixtures("small_towers")
def test_the_file_loads_here_again(tmp_path: Path) -> None:
    model = clip_with(12, "quick_gelu")
    written(model, tmp_path)
    again = longclip.load(tmp_path / "clip.safetensors", activation="quick_gelu")
    ids = longclip.tokenize(["a red boat", "two dogs"])
    torch.testing.assert_close(again.encode_text(ids), model.encode_text(ids))


@pytest.mark.parametrize(
    ("layers", "activation"), [(12, "gelu"), (24, "quick_gelu"), (32, "quick_gelu")]
)
def test_an_activation_it_would_not_compute_is_refused(
    layers: int, activation: str, tmp_path: Path
) -> None:
    """The file has no room to say which, and the pictures would be wrong without a word."""
    with pytest.raises(CheckpointError, match=activation):
        written(clip_with(layers, activation), tmp_path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("CLIP_L", r"is 64 wide, and ComfyUI takes 12 layers for a CLIP-L, which is 768 wide"),
        ("CLIP_G", r"is 64 wide, and ComfyUI takes 32 layers for a CLIP-G, which is 1280 wide"),
        ("CLIP_H", r"has 24 layers, which ComfyUI takes for a CLIP-H"),
    ],
)
def test_a_tower_it_would_not_load_is_refused(kind: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=says):
        written(clip_with(*KINDS[kind]), tmp_path)
    assert not (tmp_path / "clip.safetensors").exists()
