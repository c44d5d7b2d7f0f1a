"""Conversion of models that keep a layout of their own: back bit for bit, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import longclip
from longclip.errors import CheckpointError
from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from longclip.model.inspect import summary
from longclip.model.pretrained import open_checked
from longclip.spec import ExportTarget
from tests.helpers.other_towers import KINDS, write_model
from tests.helpers.unigram import write_unigram

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


@pytest.fixture(scope="module")
def other_language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of transformers with all that CLIP has but its vocabulary, of the same size."""
    shape = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2}
    text = TextConfig(**shape, num_hidden_layers=2, max_position_embeddings=248)
    vision = VisionConfig(**shape, num_hidden_layers=2, image_size=32, patch_size=8)
    directory = tmp_path_factory.mktemp("language") / "model"
    longclip.save(CLIP(CLIPConfig(text, vision, 16)), directory)
    for name in ("vocab.json", "merges.txt"):
        (directory / name).unlink()
    write_unigram(directory, begin="<s>")
    return directory


@pytest.mark.parametrize(
    ("to", "program"),
    [
        ("openai", "OpenAI's code"),
        ("longclip", "Long-CLIP's code"),
        ("openclip", "OpenCLIP"),
        ("comfyui", "ComfyUI"),
    ],
)
def test_a_tokenizer_is_not_left_behind(
    to: ExportTarget, program: str, other_language: Path, tmp_path: Path
) -> None:
    pattern = f"vocabulary of its own, and {program} .* --to {to} .* --to hf and --to hf-text write"
    with pytest.raises(CheckpointError, match=pattern):
        convert(other_language, tmp_path / "there", to)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("to", ["hf", "hf-text"])
def test_layouts_with_a_place_for_it_get_the_tokenizer(
    to: ExportTarget, other_language: Path, tmp_path: Path
) -> None:
    convert(other_language, tmp_path / "there", to)
    ours, again = longclip.load(other_language), longclip.load(tmp_path / "there")
    assert again.tokenizer.encode(["a red dog"]) == ours.tokenizer.encode(["a red dog"])


def openclip_with_tokenizer(directory: Path, clean: str) -> Path:
    """Write a causal OpenCLIP model whose configuration names a tokenizer, which lies beside it."""
    write_model("timm", directory)
    write_unigram(directory)
    path = directory / "open_clip_config.json"
    config = json.loads(path.read_text())
    kwargs = {"clean": clean}
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "a/b", "tokenizer_kwargs": kwargs}
    config["model_cfg"]["text_cfg"] |= {"pool_type": "eos", "eos_id": 1}
    path.write_text(json.dumps(config))
    return directory


def test_openclips_own_layout_keeps_the_tokenizer_it_names(tmp_path: Path) -> None:
    source = openclip_with_tokenizer(tmp_path / "model", "canonicalize")
    convert(source, tmp_path / "same", "openclip")
    texts = ["A red, red dog!"]
    ours, again = longclip.load(source), longclip.load(tmp_path / "same")
    assert again.tokenizer.encode(texts) == ours.tokenizer.encode(texts)
    described = json.loads((tmp_path / "same/open_clip_config.json").read_text())
    assert described["model_cfg"]["text_cfg"]["hf_tokenizer_name"] == "a/b"


@pytest.mark.parametrize("clean", ["lower", "canonicalize"])
def test_a_tower_whose_texts_are_cleaned_otherwise_is_not_saved_alone(
    clean: str, tmp_path: Path
) -> None:
    """A tokenizer.json does not say it, so the words would get other ids."""
    source = openclip_with_tokenizer(tmp_path / "model", clean)
    with pytest.raises(CheckpointError, match="no place for texts that are lower-cased"):
        convert(source, tmp_path / "there", "hf-text")
    with pytest.raises(CheckpointError, match="no place for texts that are lower-cased"):
        longclip.save(longclip.load(source, tower="text"), tmp_path / "there")
    assert not (tmp_path / "there").exists()


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
