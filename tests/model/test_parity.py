"""Towers against transformers' CLIPModel on random weights of real shapes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import longclip
from longclip.model import CLIP, CLIPConfig
from longclip.model.architectures import ARCHITECTURES
from tests.helpers.models import SMALL, small_clip

transformers = pytest.importorskip("transformers")

TEXTS = [
    "a red boat",
    "",
    "The image captures a serene coastal town, nestled on a hillside. " * 6,
    "two people and a dog",
]


def quick_gelu_and_gelu() -> list[CLIPConfig]:
    gelu = replace(
        SMALL,
        text=replace(SMALL.text, hidden_act="gelu"),
        vision=replace(SMALL.vision, hidden_act="gelu"),
    )
    return [SMALL, gelu]


def check_parity(model: CLIP, directory: Path, atol: float) -> None:
    """Save ours, load theirs, compare both towers."""
    longclip.save(model, directory)
    theirs, report = transformers.CLIPModel.from_pretrained(directory, output_loading_info=True)
    assert not any(report.values()), report
    theirs = theirs.float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    assert tokenizer.model_max_length == model.context_length
    inputs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    pixels = torch.randn(3, 3, *[model.config.vision.image_size] * 2)
    with torch.inference_mode():
        text = theirs.get_text_features(**inputs).pooler_output
        image = theirs.get_image_features(pixels).pooler_output
    with pytest.warns(longclip.text.TruncationWarning) if model.context_length < 80 else _nothing():
        ours = model.encode_text(TEXTS)
    torch.testing.assert_close(ours, text, rtol=0, atol=atol)
    torch.testing.assert_close(model.encode_image(pixels), image, rtol=0, atol=atol)
    torch.testing.assert_close(model.logit_scale, theirs.logit_scale)


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("config", quick_gelu_and_gelu(), ids=["quick_gelu", "gelu"])
@pytest.mark.parametrize("context_length", [77, 248])
def test_small_model(config: CLIPConfig, context_length: int, tmp_path: Path) -> None:
    model = small_clip(config)
    if context_length != 77:
        model = longclip.stretch(model, context_length)
    check_parity(model, tmp_path / "model", atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B/32", "ViT-B/16", "ViT-L/14"])
def test_real_shapes(name: str, tmp_path: Path) -> None:
    model = longclip.stretch(small_clip(ARCHITECTURES[name]))
    with torch.no_grad():  # unit-size features, as real models have
        model.text_projection.weight.mul_(0.1)
        model.visual_projection.weight.mul_(0.1)
    check_parity(model, tmp_path / "model", atol=1e-5)


def test_theirs_loads_here(tmp_path: Path) -> None:
    theirs = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=SMALL.to_json()["text_config"],
            vision_config=SMALL.to_json()["vision_config"],
            projection_dim=24,
        )
    ).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = longclip.load(tmp_path / "theirs")
    ids = longclip.tokenize(TEXTS, context_length=77, warn=False)
    with torch.inference_mode():
        expected = theirs.get_text_features(ids).pooler_output
    torch.testing.assert_close(ours.encode_text(ids), expected, rtol=0, atol=1e-5)
