"""What programs put around the weights of a CLIP is taken off and named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import longclip
from longclip.checkpoints import open_checkpoint
from longclip.checkpoints.formats.openai import from_huggingface
from longclip.errors import CheckpointError
from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig
from longclip.model.pretrained import open_checked
from tests.helpers.models import small_clip

Tensors = dict[str, Tensor]

# Of a vocabulary that is not CLIP's, texts are taken to end at their largest id.
IDS: Any = {"bos_token_id": 0, "eos_token_id": 39, "pad_token_id": 0, "pooling": "argmax"}
TEXT = TextConfig(64, 64, 1, 1, vocab_size=40, max_position_embeddings=8, **IDS)
MODEL = small_clip(CLIPConfig(TEXT, VisionConfig(64, 64, 1, 1, image_size=16, patch_size=8), 8))
HF = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
OPENAI = {name: tensor.contiguous().clone() for name, tensor in from_huggingface(HF).items()}


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def only(prefix: str, tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


TOWER = only("text_model.", HF) | only("text_projection.", HF)
IMAGE = only("vision_model.", HF) | only("visual_projection.", HF)
OPENAI_TOWER = {n: t for n, t in OPENAI.items() if not n.startswith("visual.")}

WHOLE: dict[str, tuple[Any, str]] = {
    "torch.compile": (under("_orig_mod.", HF), "_orig_mod."),
    "torch.compile inside": (
        {n.replace("model.", "model._orig_mod.", 1): t for n, t in HF.items()},
        "_orig_mod.",
    ),
    "DDP": ({"epoch": 1, "state_dict": under("module.", OPENAI)}, "module. was taken off"),
    "DDP and compile": ({"model": under("module._orig_mod.", HF)}, "module. was taken off"),
    "Lightning": (
        {"state_dict": under("model.", HF) | {"loss.scale": torch.ones(1)}, "epoch": 2},
        "model. was taken off the names of tensors; 1 tensors that are not in it are left out",
    ),
    "average beside": ({"state_dict": HF, "state_dict_ema": under("x.", HF)}, "is left out"),
    "average alone": ({"ema": HF}, "those of ema, a moving average"),
    "ema_pytorch": (under("ema_model.", HF) | {"step": torch.ones(1)}, "ema_model. was taken"),
    "two of them": (under("model.", HF) | under("model_ema.", OPENAI), "model. was taken off"),
}


@pytest.mark.parametrize("name", list(WHOLE))
def test_wrapped_models(name: str, tmp_path: Path) -> None:
    content, note = WHOLE[name]
    torch.save(content, tmp_path / "quickgelu.pt")
    checkpoint, model = open_checked(tmp_path / "quickgelu.pt")
    assert note in " ".join(checkpoint.notes)
    assert checkpoint.tensors.keys() == HF.keys()
    for key, tensor in HF.items():
        assert torch.equal(checkpoint.tensors[key], tensor)
    assert model.config.text == TEXT


TOWERS: dict[str, tuple[Tensors, str]] = {
    "ComfyUI": (TOWER | {"logit_scale": torch.tensor(4.6)}, "logit_scale is left out"),
    "transformers 5": (
        {name.removeprefix("text_model."): tensor for name, tensor in TOWER.items()},
        "",
    ),
    "a part of a pipeline": (under("text_encoder.", TOWER), "text_encoder. was taken off"),
}


@pytest.mark.parametrize("name", list(TOWERS))
def test_text_towers(name: str, tmp_path: Path) -> None:
    tensors, note = TOWERS[name]
    save_file(tensors, tmp_path / "tower.safetensors")
    checkpoint, _ = open_checked(tmp_path / "tower.safetensors")
    assert checkpoint.tensors.keys() == TOWER.keys()
    assert note in " ".join(checkpoint.notes)


def test_an_image_tower_as_transformers_5_names_it(tmp_path: Path) -> None:
    bare = {name.removeprefix("vision_model."): tensor for name, tensor in IMAGE.items()}
    save_file(bare, tmp_path / "tower.safetensors")
    checkpoint, _ = open_checked(tmp_path / "tower.safetensors")
    assert checkpoint.tensors.keys() == IMAGE.keys()


UNET = {"model.diffusion_model.out.weight": torch.ones(3)}
CLIP_L = only("text_model.", HF)


@pytest.mark.parametrize(
    "tower",
    [
        under("cond_stage_model.transformer.", CLIP_L),
        under("cond_stage_model.model.", OPENAI_TOWER | {"attn_mask": torch.ones(1)}),
        under("conditioner.embedders.0.model.", OPENAI_TOWER),
    ],
    ids=["SD 1", "SD 2", "SDXL refiner"],
)
def test_text_towers_of_single_file_diffusion_checkpoints(tower: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "sd.safetensors"
    save_file(tower | UNET, path)
    checkpoint, _ = open_checked(path)
    assert "1 tensors that are not in it are left out" in " ".join(checkpoint.notes)
    assert checkpoint.tensors.keys() - {"text_projection.weight"} == CLIP_L.keys()
    assert open_checked(path / "text_encoder")[0].tensors.keys() == checkpoint.tensors.keys()
    with pytest.raises(CheckpointError, match=r"no part 'text_encoder_2'; it has text_encoder \("):
        open_checked(path / "text_encoder_2")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
        ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."),
    ],
    ids=["SDXL", "SD 3"],
)
def test_the_choice_of_two_text_towers_is_named(first: str, second: str, tmp_path: Path) -> None:
    path = tmp_path / "xl.safetensors"
    other = OPENAI_TOWER if second.endswith(".model.") else TOWER
    both = under(first, CLIP_L) | under(second, other) | UNET
    save_file({name: tensor.clone() for name, tensor in both.items()}, path)
    with pytest.raises(
        CheckpointError, match=r"holds 2 CLIPs .*xl\.safetensors/text_encoder \(.*/text_encoder_2"
    ):
        open_checked(path)
    assert open_checked(path / "text_encoder")[0].tensors.keys() == CLIP_L.keys()
    assert open_checked(path / "text_encoder_2")[0].tensors.keys() == TOWER.keys()


def test_an_average_without_names_says_the_way_out(tmp_path: Path) -> None:
    torch.save({"decay": 0.9, "shadow_params": [torch.ones(2)]}, tmp_path / "ema.pt")
    with pytest.raises(CheckpointError, match=r"without the names .*ema\.copy_to"):
        open_checkpoint(tmp_path / "ema.pt")


def test_the_old_layout_of_sentence_transformers(tmp_path: Path) -> None:
    longclip.save(MODEL, tmp_path / "model")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "modules.json").write_text("[]")
    shutil.move(tmp_path / "model", tmp_path / "old" / "0_CLIPModel")
    assert longclip.load(tmp_path / "old").config == MODEL.config


@pytest.mark.parametrize("wrap", [lambda t: under("_orig_mod.", t), lambda t: {"model": t}])
def test_wrapped_weights_in_a_directory(
    wrap: Callable[[Tensors], dict[str, Any]], tmp_path: Path
) -> None:
    longclip.save(MODEL, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(wrap(HF), tmp_path / "model" / "pytorch_model.bin")
    model: CLIP = longclip.load(tmp_path / "model")
    assert model.config == MODEL.config
