"""The catalogue of known models: complete, consistent, and what OpenCLIP's own tables say."""

import json
from dataclasses import asdict
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import pytest

from longclip.checkpoints.catalogue import (
    FAMILIES,
    KnownModel,
    find_known_model,
    known_models,
    nearest_models,
)
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.model_names import check_model_name, full_name, is_hub_id
from longclip.errors import CheckpointError
from longclip.evaluation.benchmarks import PUBLISHED
from longclip.model.config import CLIPConfig, ForeignVisionConfig

MODELS = known_models()
LICENCES = {"MIT", "Apache-2.0", "CC-BY-NC-4.0", "apple-amlr", None}


def test_entries_are_consistent() -> None:
    names = [name.lower() for model in MODELS for name in (model.name, model.hub)]
    assert len(names) == len(set(names))
    assert [family for family, _ in groupby(model.family for model in MODELS)] == list(FAMILIES)
    assert {model.licence for model in MODELS} <= LICENCES
    for model in MODELS:
        assert is_hub_id(model.hub)
        assert model.hub.count("/") == 1
        assert model.name.strip() == model.name
        assert model.good_for
        assert len(model.good_for) <= 60
        assert min(model.context, model.image, model.embedding) > 0
        json.dumps(asdict(model))


def test_numbers_are_percentages_with_a_source() -> None:
    measured = [model.coco for model in MODELS if model.coco]
    for coco in measured:
        assert 0 < coco.text_to_image < 100
        assert coco.image_to_text is None or 0 < coco.image_to_text < 100
        assert len(coco.source) > 10
    assert len(measured) > 40
    siglip = find_known_model("SigLIP2-B-16-224")
    assert siglip
    assert siglip.coco
    assert (siglip.coco.image_to_text, siglip.coco.text_to_image) == (68.9, 52.1)


def test_published_names_are_those_of_the_table_and_nothing_stands_twice() -> None:
    known = {name for rows in PUBLISHED.values() for name in rows}
    assert {model.published for model in MODELS if model.published} <= known
    twice = [m.name for m in MODELS if m.coco and m.published in PUBLISHED["coco-5k"]]
    assert twice == []


def package() -> Path:
    found = find_spec("open_clip")
    if not found or not found.origin:
        pytest.skip("open_clip is not installed")
    return Path(found.origin).parent


@pytest.mark.parametrize("model", [m for m in MODELS if m.open_clip], ids=lambda m: m.name)
def test_shapes_are_those_of_openclips_configuration(model: KnownModel) -> None:
    path = package() / "model_configs" / f"{model.open_clip}.json"
    config = CLIPConfig.from_json(openclip.describe({"model_cfg": json.loads(path.read_text())}))
    assert config.text
    assert config.vision
    assert model.context == config.text.max_position_embeddings
    assert model.image == config.vision.image_size
    assert model.embedding == config.projection_dim
    assert bool(model.extra) == isinstance(config.vision, ForeignVisionConfig)


def test_names_on_the_hub_are_those_that_openclip_fetches() -> None:
    listed = (package() / "pretrained.py").read_text()
    owners = ("laion", "apple", "timm")
    names = [model.hub for model in MODELS if model.hub.startswith(owners)]
    assert len(names) > 25
    assert [name for name in names if f"'{name}/'" not in listed] == []


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("LongCLIP-L", "BeichenZhang/LongCLIP-L"),
        ("longclip-l", "BeichenZhang/LongCLIP-L"),
        ("ViT-B/32", "openai/clip-vit-base-patch32"),
        ("ViT-L/14@336px", "openai/clip-vit-large-patch14-336"),
        ("BeichenZhang/LongCLIP-L", "BeichenZhang/LongCLIP-L"),
        ("somebody/something", "somebody/something"),
        ("nano", "nano"),
        ("", ""),
    ],
)
def test_short_names(name: str, full: str) -> None:
    assert full_name(name) == full


def test_what_lies_here_goes_before_short_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "LongCLIP-L").mkdir()
    (tmp_path / "ViT-B").mkdir()
    (tmp_path / "ViT-B" / "32").write_bytes(b"weights")
    assert full_name("LongCLIP-L") == "LongCLIP-L"
    assert full_name("ViT-B/32") == "ViT-B/32"
    assert full_name("ViT-B/32/text_encoder") == "ViT-B/32/text_encoder"
    assert full_name(Path("LongCLIP-B")) == Path("LongCLIP-B")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("logclip-l", "LongCLIP-L"),
        ("ViT-B-16", "ViT-B/16"),
        ("pe-core", "PE-Core-T-16-384"),
        ("openai/clip-vit-base-patch61", "openai/clip-vit-base-patch16"),
        ("Beichen/LongCLIP-L", "BeichenZhang/LongCLIP-L"),
        ("siglap", "SigLIP-B-16-224"),
    ],
)
def test_nearest_names(name: str, near: str) -> None:
    assert f"did you mean {near}" in nearest_models(name)
    if "/" not in name:
        with pytest.raises(CheckpointError, match=f"no model '{name}'.* did you mean {near}"):
            check_model_name(name)


def test_names_that_are_known_or_like_none_have_no_nearest() -> None:
    assert nearest_models("LongCLIP-L") == ""
    assert nearest_models("openai/clip-vit-base-patch16/text_encoder") == ""
    assert nearest_models("owner/clip") == ""


def test_a_path_that_is_not_there_is_no_name_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be looked for there for half a minute where there is no network."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "openai", "somebody"):
        (tmp_path / folder).mkdir()
    with pytest.raises(CheckpointError, match="no file or directory photos/nosuch; its folder is"):
        check_model_name("photos/nosuch")
    with pytest.raises(CheckpointError, match=r"no file or directory weights/B\.pt; it is called"):
        check_model_name("weights/B.pt")
    with pytest.raises(CheckpointError, match=r"hf download somebody/clip$"):
        check_model_name("somebody/clip/text_encoder")
    check_model_name("openai/clip-vit-base-patch16")  # known, whatever lies here
    check_model_name("elsewhere/clip")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--somebody--clip").mkdir()
    check_model_name("somebody/clip/text_encoder")  # as it was fetched before
