"""`apply` and `undo` on pipelines of every family."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import longclip
from longclip.diffusion import apply, undo
from longclip.diffusion.encoders import lengthened
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers import pipelines as tiny_pipelines
from tests.helpers.applied_pipelines import (
    ENDLESS,
    LONG,
    OTHER,
    SLOTS,
    clips,
    embeds,
    same,
    tiny_clip,
    tiny_pipeline,
)
from tests.helpers.pipelines import FAMILIES, SENTENCE, Family, diffusers, image_of, tiny_controlnet
from tests.helpers.unigram import write_unigram


def test_few_words_are_read_as_in_the_real_vocabulary() -> None:
    small, real = (tiny_pipelines.tiny_tokenizer(small=few) for few in (True, False))
    text = f"{LONG} blurry cat"
    assert small.tokenize(text) == real.tokenize(text)
    assert len(small) < 1000 < len(real)


class TestWordsAfterToken77:
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("own", [True, False], ids=["stretched", "Long-CLIP"])
    def test_they_matter(self, family: Family, own: bool) -> None:
        pipeline = tiny_pipeline(family)
        before = image_of(pipeline, LONG)
        assert torch.equal(image_of(pipeline, OTHER), before)
        parts = {name: getattr(pipeline, name) for name in pipeline.components}
        assert apply(pipeline, **({} if own else clips(family))) is pipeline
        assert not torch.equal(image_of(pipeline, LONG), image_of(pipeline, OTHER))
        assert undo(pipeline) is pipeline
        assert all(getattr(pipeline, name) is part for name, part in parts.items())
        assert "encode_prompt" not in vars(pipeline)
        assert torch.equal(image_of(pipeline, LONG), before)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_in_the_negative_prompt(self, family: Family) -> None:
        pipeline = apply(tiny_pipeline(family))
        first = image_of(pipeline, "a boat", negative_prompt=LONG)
        assert not torch.equal(first, image_of(pipeline, "a boat", negative_prompt=OTHER))

    @pytest.mark.parametrize("name", ["prompt_2", "negative_prompt_2"])
    def test_for_the_second_encoder(self, name: str) -> None:
        pipeline = apply(tiny_pipeline("sdxl"))
        more = {"negative_prompt": "blurry"}
        first = image_of(pipeline, "a boat", **more, **{name: LONG})
        assert not torch.equal(first, image_of(pipeline, "a boat", **more, **{name: OTHER}))

    @pytest.mark.parametrize("family", FAMILIES)
    def test_without_guidance(self, family: Family) -> None:
        pipeline = apply(tiny_pipeline(family))
        first = image_of(pipeline, LONG, guidance_scale=1.0)
        assert not torch.equal(first, image_of(pipeline, OTHER, guidance_scale=1.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_short_prompts_keep_their_first_rows(family: Family) -> None:
    pipeline = tiny_pipeline(family)
    before = embeds(pipeline, SENTENCE * 2, negative_prompt="blurry")
    after = embeds(apply(pipeline), SENTENCE * 2, negative_prompt="blurry")
    assert after[0].shape[1] == after[1].shape[1] == 248
    for old, new in zip(before[:2], after[:2], strict=True):
        torch.testing.assert_close(new[:, :20], old[:, :20], rtol=1e-5, atol=1e-5)
    # The pooled vector is made at the end of the text, here the 18th and the third token.
    for old, new in zip(before[2:], after[2:], strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("first", [True, False], ids=["cast, apply", "apply, cast"])
@pytest.mark.parametrize("own", [True, False], ids=["stretched", "Long-CLIP"])
def test_half_precision(dtype: torch.dtype, first: bool, own: bool) -> None:
    pipeline, given = tiny_pipeline("sd1"), {} if own else clips("sd1")
    if first:
        pipeline.to(dtype)
    apply(pipeline, **given)
    pipeline.to(dtype)
    for encoder in (pipeline.text_encoder, undo(pipeline).text_encoder):
        assert {weight.dtype for weight in encoder.parameters()} == {dtype}
    if dtype == torch.bfloat16:  # float16 is not for CPUs
        images = [image_of(apply(pipeline, **given), text) for text in (LONG, OTHER)]
        assert not torch.equal(*images)


@pytest.mark.parametrize("family", FAMILIES)
def test_saving_and_loading(family: Family, tmp_path: Path) -> None:
    pipeline = apply(tiny_pipeline(family))
    pipeline.save_pretrained(tmp_path)
    again = type(pipeline).from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    # Weights in a file lie otherwise than in memory, and are added up in another order.
    torch.testing.assert_close(image_of(again, LONG), image_of(pipeline, LONG), rtol=0, atol=1e-5)
    index = json.loads((tmp_path / "model_index.json").read_text())
    for slot in SLOTS[family]:
        assert index[slot][0] == "transformers"
        assert getattr(again, slot.replace("text_encoder", "tokenizer")).model_max_length == 248
    # Nothing to undo: it knows no other encoders. Applied, it stays as long.
    with pytest.raises(ValueError, match="nothing to undo"):
        undo(again)
    encoder = getattr(again, SLOTS[family][0])
    assert getattr(apply(again, overflow="chunk"), SLOTS[family][0]) is encoder


def test_originals_can_be_saved_after_undo(tmp_path: Path) -> None:
    pipeline = apply(tiny_pipeline("sd1"))
    pipeline.load_textual_inversion({"<cat>": torch.ones(1, 32)}, token="<cat>")
    undo(pipeline).save_pretrained(tmp_path)
    again = type(pipeline).from_pretrained(tmp_path)
    assert again.tokenizer.model_max_length == 77
    torch.testing.assert_close(embeds(again), embeds(pipeline), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("kind", ["Img2Img", "Inpaint", "ControlNet"])
@pytest.mark.parametrize("applied_first", [True, False])
def test_other_pipelines(family: Family, kind: str, applied_first: bool) -> None:
    """Made from an applied pipeline, or applied themselves."""
    xl = "XL" if family == "sdxl" else ""
    base, more, picture = tiny_pipeline(family), {}, torch.full((1, 3, 16, 16), 0.5)
    inputs = {"image": picture, "strength": 1.0}
    if applied_first:
        apply(base)
    if kind == "Inpaint":
        inputs["mask_image"] = torch.ones(1, 1, 16, 16)
    elif kind == "ControlNet":
        more["controlnet"] = tiny_controlnet(base)
        inputs = {"image": picture, "num_images_per_prompt": 2}
    names = {"ControlNet": f"StableDiffusion{xl}ControlNetPipeline"}
    name = names.get(kind, f"StableDiffusion{xl}{kind}Pipeline")
    pipeline = getattr(diffusers, name).from_pipe(base, **more)
    pipeline.set_progress_bar_config(disable=True)
    if not applied_first:
        apply(pipeline)
        assert base.tokenizer.model_max_length == 77
    images = [image_of(pipeline, text, **inputs) for text in (LONG, OTHER)]
    assert bool(images[0].isfinite().all())
    assert not torch.equal(*images)


class TestLengths:
    def test_all_encoders_get_the_length_of_the_given_one(self) -> None:
        pipeline = apply(tiny_pipeline("sdxl"), text_encoder=tiny_clip("sdxl", context_length=120))
        assert embeds(pipeline)[0].shape[1] == 120
        assert pipeline.text_encoder_2.config.max_position_embeddings == 120

    def test_a_short_clip_is_stretched(self) -> None:
        source = tiny_clip("sd1", context_length=77)
        found = embeds(apply(tiny_pipeline("sd1"), text_encoder=source))
        longer = longclip.stretch(source)
        assert same(found, embeds(apply(tiny_pipeline("sd1"), text_encoder=longer)))

    def test_lengths_that_differ(self) -> None:
        given = {
            "text_encoder": tiny_clip("sdxl", context_length=120),
            "text_encoder_2": tiny_clip("sdxl", "text_encoder_2"),
        }
        with pytest.raises(
            ValueError, match=r"text_encoder 120, text_encoder_2 248.*context_length="
        ):
            apply(tiny_pipeline("sdxl"), **given)
        pipeline = apply(tiny_pipeline("sdxl"), **given, context_length=248)
        assert pipeline.text_encoder.config.max_position_embeddings == 248
        with pytest.raises(ValueError, match="context_length 120 is less"):
            apply(tiny_pipeline("sdxl"), **given, context_length=120)

    def test_keep(self) -> None:
        pipeline = apply(tiny_pipeline("sd1"), context_length=100, keep=40)
        expected = lengthened(tiny_pipeline("sd1").text_encoder, 100, 40)
        for name, weight in expected.state_dict().items():
            assert torch.equal(pipeline.text_encoder.state_dict()[name], weight)


def test_a_path_or_a_name(tmp_path: Path) -> None:
    source = tiny_clip("sd1")
    longclip.save(source, tmp_path / "clip")
    found = embeds(apply(tiny_pipeline("sd1"), text_encoder=tmp_path / "clip"))
    assert same(found, embeds(apply(tiny_pipeline("sd1"), text_encoder=source)))


def test_applied_again_it_starts_from_the_originals() -> None:
    pipeline = tiny_pipeline("sd1")
    parts = pipeline.text_encoder, pipeline.tokenizer
    expected = embeds(apply(tiny_pipeline("sd1")))
    apply(pipeline, text_encoder=tiny_clip("sd1", context_length=100), overflow="chunk")
    assert same(embeds(apply(pipeline)), expected)
    undo(pipeline)
    assert (pipeline.text_encoder, pipeline.tokenizer) == parts
    with pytest.raises(ValueError, match="nothing to undo"):
        undo(pipeline)


def test_an_error_leaves_all_as_it_was() -> None:
    pipeline = apply(tiny_pipeline("sd1"))
    parts = pipeline.text_encoder, pipeline.tokenizer
    with pytest.raises(ValueError, match="does not fit"):
        apply(pipeline, text_encoder=tiny_clip("sd2"))
    assert (pipeline.text_encoder, pipeline.tokenizer) == parts


def test_a_clip_that_reads_other_tokens_is_refused(tmp_path: Path) -> None:
    write_unigram(tmp_path)
    clip = tiny_clip("sd1")
    clip.tokenizer_files = tokenizer_files(tmp_path)
    with pytest.raises(ValueError, match=r"does not fit .* a tokenizer of its own, not CLIP's"):
        apply(tiny_pipeline("sd1"), text_encoder=clip)


def test_padding_is_the_pipelines() -> None:
    pipeline = apply(tiny_pipeline("sdxl"))
    assert pipeline.tokenizer.pad_token_id == pipeline.tokenizer.eos_token_id
    assert pipeline.tokenizer_2.pad_token_id == 0


def test_a_copied_pipeline_uses_its_own_encoders() -> None:
    pipeline = apply(tiny_pipeline("sd1"), overflow="chunk")
    expected = embeds(pipeline, ENDLESS)
    other = copy.deepcopy(pipeline)
    undo(pipeline)
    assert same(embeds(other, ENDLESS), expected)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("sd1", {"overflow": "cut"}, "overflow 'cut' is not 'warn' or 'chunk'"),
        ("sd1", {"text_encoder_2": "some/clip"}, "no text_encoder_2 to exchange; it has text_enc"),
        ("refiner", {"text_encoder": "some/clip"}, "no text_encoder to exchange; it has text_enco"),
        ("sd1", {"keep": 77}, "keep 77"),
        ("sd1", {"context_length": 20}, "context_length 20 is less"),
        ("sd1", {"text_encoder": "no-such-clip"}, "no model 'no-such-clip'"),
    ],
)
def test_mistakes(family: Family, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(tiny_pipeline(family), **options)


def test_the_longer_tokenizer_decodes_words() -> None:
    tokenizer = apply(tiny_pipeline("sd1")).tokenizer
    ids = tokenizer("a red boat", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids).strip() == "a red boat"
