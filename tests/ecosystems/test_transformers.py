"""A saved directory in transformers: every class that takes it, its tokenizer and its processor."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from tests.helpers.plug_and_play import TEXTS, Saved, close

transformers = pytest.importorskip("transformers")

# All that a tower finds too much in a whole CLIP.
OTHER_TOWER = {
    "text": ("vision_model.", "visual_projection.", "logit_scale"),
    "vision": ("text_model.", "text_projection.", "logit_scale"),
}
# Mojibake, entities and curly quotes are left out: no Hugging Face tokenizer has CLIP's ftfy.
ODD_TEXTS = [
    "",
    "  \t ",
    "DON'T stop!!! it's 3.14",
    "naïve café, 你好 🚤 Straße",
    "can't we'll x̧ — «quotes»",
    "a" * 1000,
    "one more word and " * 100,
]


def load(kind: str, saved: Saved) -> tuple[Any, dict[str, set[str]]]:
    model, report = getattr(transformers, kind).from_pretrained(
        saved.directory, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    return model.eval(), report


def ids() -> torch.Tensor:
    return longclip.tokenize(TEXTS)


@torch.inference_mode()
def test_both_towers(vit_b16: Saved, transformers_log: pytest.LogCaptureFixture) -> None:
    theirs, report = load("CLIPModel", vit_b16)
    assert not any(report.values())
    assert "LOAD REPORT" not in transformers_log.text
    close(theirs.get_text_features(ids()).pooler_output, vit_b16.text)
    close(theirs.get_image_features(vit_b16.pixels).pooler_output, vit_b16.image)
    # What only the last words tell apart is told apart.
    assert float((vit_b16.text[2] - vit_b16.text[3]).abs().max()) > 1e-3


@torch.inference_mode()
def test_a_clips_logits(vit_b16: Saved) -> None:
    """For users who name no class and call no tower."""
    theirs, report = load("AutoModel", vit_b16)
    assert not any(report.values())
    assert isinstance(theirs, transformers.CLIPModel)
    output = theirs(input_ids=ids(), pixel_values=vit_b16.pixels)
    text, image = (torch.nn.functional.normalize(x, dim=-1) for x in (vit_b16.text, vit_b16.image))
    close(output.text_embeds, text)
    close(output.image_embeds, image)
    assert torch.equal(theirs.logit_scale, vit_b16.model.logit_scale)
    close(output.logits_per_image, theirs.logit_scale.exp() * output.image_embeds @ text.T)


@torch.inference_mode()
def test_text_towers_alone(vit_b16: Saved) -> None:
    projected, report = load("CLIPTextModelWithProjection", vit_b16)
    assert all(key.startswith(OTHER_TOWER["text"]) for key in report["unexpected_keys"])
    close(projected(ids()).text_embeds, vit_b16.text)
    bare, report = load("CLIPTextModel", vit_b16)
    extra = (*OTHER_TOWER["text"], "text_projection.")
    assert all(key.startswith(extra) for key in report["unexpected_keys"])
    pooled = bare(ids()).pooler_output
    close(vit_b16.model.text_projection(pooled), vit_b16.text)


@torch.inference_mode()
def test_image_towers_alone(vit_b16: Saved) -> None:
    theirs, report = load("CLIPVisionModelWithProjection", vit_b16)
    assert all(key.startswith(OTHER_TOWER["vision"]) for key in report["unexpected_keys"])
    close(theirs(vit_b16.pixels).image_embeds, vit_b16.image)


def test_the_configuration_says_how_long_texts_may_be(vit_b16: Saved) -> None:
    config = transformers.AutoConfig.from_pretrained(vit_b16.directory)
    assert config.text_config.max_position_embeddings == 248
    # For version 4, which would say 20, and for servers that take that for the limit.
    assert json.loads((vit_b16.directory / "config.json").read_text())["max_length"] == 248


def test_the_tokenizer(vit_b16: Saved) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(vit_b16.directory)
    assert tokenizer.model_max_length == 248
    found = tokenizer(ODD_TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    assert torch.equal(found.input_ids, longclip.tokenize(ODD_TEXTS, warn=False))
    # The end of the text is the last token that counts.
    assert found.attention_mask[0].tolist() == [1, 1] + [0] * 246
    again = transformers.CLIPTokenizer.from_pretrained(vit_b16.directory)
    assert again(ODD_TEXTS).input_ids == tokenizer(ODD_TEXTS).input_ids


@pytest.fixture(scope="module")
def processor(vit_b16: Saved) -> Any:
    return transformers.AutoProcessor.from_pretrained(vit_b16.directory)


# Margins that both halve alike; where one is odd transformers cuts a pixel further left or up.
@pytest.mark.parametrize("size", [(224, 224), (300, 224), (640, 480), (100, 253), (1001, 777)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_the_processor(mode: str, size: tuple[int, int], processor: Any, vit_b16: Saved) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    found = processor(text=TEXTS, images=picture, padding=True, return_tensors="pt")
    close(found.pixel_values[0], vit_b16.model.preprocess(picture))
    assert torch.equal(found.input_ids, ids())
