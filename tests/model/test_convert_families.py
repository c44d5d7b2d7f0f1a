"""Conversion of models that keep a layout of their own: back bit for bit, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import longclip
from longclip.errors import CheckpointError
from longclip.model.convert import convert
from longclip.model.inspect import summary
from longclip.model.pretrained import open_checked
from longclip.spec import ExportTarget
from tests.helpers.other_towers import KINDS, write_model

OWN: dict[str, ExportTarget] = {"siglip": "hf", "timm": "openclip", "resnet": "openclip"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: write_model(kind, folder / kind) for kind in KINDS}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_its_own_layout_gets_every_bit(
    kind: str, dtype: torch.dtype | None, models: dict[str, Path], tmp_path: Path
) -> None:
    convert(models[kind], tmp_path / "same", OWN[kind], dtype=dtype)
    [before], [after] = (p.glob("*.safetensors") for p in (models[kind], tmp_path / "same"))
    expected, found = load_file(before), load_file(after)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        counts = not value.is_floating_point()
        assert torch.equal(found[name], value if counts else value.to(dtype or value.dtype)), name
    for file in {p.name for p in models[kind].iterdir()} - {before.name, "config.json"}:
        old, new = (json.loads((p / file).read_text()) for p in (models[kind], tmp_path / "same"))
        assert old == new, file


@pytest.mark.parametrize(
    ("kind", "to", "reason"),
    [
        ("siglip", "openclip", "has an image tower of transformers, .* --to openclip .* --to hf"),
        ("siglip", "hf-text", "has a text tower without causal mask, texts .* at their last"),
        ("siglip", "comfyui", "a vocabulary of its own, for which --to comfyui"),
        ("timm", "hf", "has an image tower of open_clip, for which --to hf has no place"),
        ("timm", "openai", "write it with --to openclip"),
        ("resnet", "longclip", "has an image tower of open_clip"),
    ],
)
def test_what_another_program_would_read_otherwise_is_refused(
    kind: str, to: ExportTarget, reason: str, models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        convert(models[kind], tmp_path / "there", to)
    assert not (tmp_path / "there").exists()


def test_a_text_tower_as_clips_goes_to_transformers(
    models: dict[str, Path], tmp_path: Path
) -> None:
    convert(models["timm"], tmp_path / "text", "hf-text")
    from transformers import CLIPTextModelWithProjection

    theirs = CLIPTextModelWithProjection.from_pretrained(tmp_path / "text").eval()
    ours = longclip.load(models["timm"])
    ids = torch.randint(1, 40000, (3, 32))
    ids[:, 9:] = 49407
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).text_embeds, ours.text_features(ids))


@pytest.mark.parametrize("kind", ["siglip", "timm"])
def test_a_tower_that_no_layout_describes_alone_is_not_saved(
    kind: str, models: dict[str, Path], tmp_path: Path
) -> None:
    tower = longclip.load(models[kind], tower="text" if kind == "siglip" else "image")
    with pytest.raises(CheckpointError, match=r"has no place for .*; save the whole model"):
        longclip.save(tower, tmp_path / "tower")


@pytest.mark.parametrize(
    ("kind", "family", "text", "owner"),
    [
        ("siglip", "SigLIP", (False, "last"), "transformers"),
        ("timm", "OpenCLIP", (True, "eos"), "open_clip"),
    ],
)
def test_inspect_says_how_it_reads_and_whose_images_are(
    kind: str, family: str, text: Any, owner: str, models: dict[str, Path]
) -> None:
    found = summary(open_checked(models[kind])[0])
    towers = found["towers"]
    assert found["family"] == family
    assert (towers["text"]["causal"], towers["text"]["pooling"]) == text
    assert towers["image"]["owner"] == owner
    assert towers["image"].get("network") == ("test_vit" if kind == "timm" else None)
