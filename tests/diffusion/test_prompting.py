"""Prompts of an applied pipeline: diffusers' own work, and those that are too long."""

import logging
import warnings
from typing import Any

import pytest
import torch

from longclip.diffusion import Conditioning, PromptCut, apply, encode
from tests.helpers.applied_pipelines import (
    ENDLESS,
    LONG,
    OTHER,
    OTHER_ENDLESS,
    SLOTS,
    embeds,
    same,
    tiny_pipeline,
)
from tests.helpers.pipelines import FAMILIES, Family, image_of


class TestDiffusersOwnEncoding:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_batches_and_images_per_prompt(self, family: Family) -> None:
        pipeline = apply(tiny_pipeline(family))
        both = embeds(pipeline, [LONG, OTHER], negative_prompt=["", LONG], num_images_per_prompt=2)
        for row, (prompt, negative) in enumerate([(LONG, ""), (OTHER, LONG)]):
            alone = embeds(pipeline, prompt, negative_prompt=negative)
            for many, one in zip(both, alone, strict=True):
                for image in range(2):
                    torch.testing.assert_close(many[2 * row + image], one[0], rtol=0, atol=1e-5)
        images = image_of(pipeline, [LONG, OTHER], num_images_per_prompt=2)
        assert images.shape == (4, 3, 16, 16)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("overflow", ["warn", "chunk"])
    def test_it_is_not_touched_for_prompts_that_fit(self, family: Family, overflow: Any) -> None:
        pipeline = apply(tiny_pipeline(family), overflow=overflow)
        expected = type(pipeline).encode_prompt(
            pipeline, prompt=LONG, device="cpu", num_images_per_prompt=1,
            do_classifier_free_guidance=True, negative_prompt=OTHER,
        )  # fmt: skip
        assert same(embeds(pipeline, negative_prompt=OTHER), expected)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("skip", [0, 1, 2])
    @torch.no_grad()
    def test_clip_skip(self, family: Family, skip: int) -> None:
        pipeline = apply(tiny_pipeline(family))
        expected = []
        for slot in SLOTS[family]:
            encoder = getattr(pipeline, slot)
            tokenizer = getattr(pipeline, slot.replace("text_encoder", "tokenizer"))
            ids = tokenizer(LONG, padding="max_length", max_length=248, return_tensors="pt")
            states = encoder(ids.input_ids, output_hidden_states=True).hidden_states
            if family in ("sd1", "sd2"):
                tower = getattr(encoder, "text_model", encoder)
                expected.append(tower.final_layer_norm(states[-1 - skip]))
            else:
                expected.append(states[-2 - skip])
        found = embeds(pipeline, clip_skip=skip)
        assert torch.equal(found[0], torch.cat(expected, dim=-1))
        # Negative prompts are read without it.
        assert torch.equal(found[1], embeds(pipeline)[1])
        assert image_of(pipeline, LONG, clip_skip=skip).shape == (1, 3, 16, 16)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_embeddings_in_the_place_of_prompts(self, family: Family) -> None:
        pipeline = apply(tiny_pipeline(family), overflow="chunk")
        given = encode(pipeline, LONG, negative_prompt="blurry", weights=False)
        assert isinstance(given, Conditioning)
        expected = image_of(pipeline, LONG, negative_prompt="blurry")
        assert torch.equal(image_of(pipeline, None, **given.kwargs), expected)


class TestOverflow:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_warning(self, family: Family, caplog: pytest.LogCaptureFixture) -> None:
        pipeline = apply(tiny_pipeline(family))
        source = logging.getLogger(type(pipeline).__module__)
        source.addHandler(caplog.handler)
        with pytest.warns(PromptCut) as caught:
            first = embeds(pipeline, ENDLESS)
        source.removeHandler(caplog.handler)
        [warning] = [one for one in caught if one.category is PromptCut]
        message = str(warning.message)
        assert "328 tokens, of which 248 are read" in message
        assert message.count("cut off") == 1
        assert "lies near the shore . a dog'" in message
        assert 'overflow="chunk"' in message
        assert not [record for record in caplog.records if "truncated" in record.message]
        with pytest.warns(PromptCut):
            assert same(embeds(pipeline, OTHER_ENDLESS), first)

    def test_it_names_every_cut(self) -> None:
        pipeline = apply(tiny_pipeline("sdxl"))
        with pytest.warns(PromptCut, match=r"a cat'; and 328 tokens.* a dog'"):
            embeds(pipeline, "a boat", prompt_2=ENDLESS, negative_prompt=OTHER_ENDLESS)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_negative_prompts_are_named_if_they_are_read(self, family: Family) -> None:
        pipeline = apply(tiny_pipeline(family))
        with pytest.warns(PromptCut, match="a dog'"):
            embeds(pipeline, "a boat", negative_prompt=ENDLESS)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            embeds(pipeline, "", negative_prompt=ENDLESS, do_classifier_free_guidance=False)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_windows(self, family: Family) -> None:
        pipeline = apply(tiny_pipeline(family), overflow="chunk")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = embeds(pipeline, ENDLESS, negative_prompt="blurry")
            assert found[0].shape[1] == found[1].shape[1] == 2 * 248
            assert not same(embeds(pipeline, OTHER_ENDLESS, negative_prompt="blurry"), found)
        again = embeds(pipeline, [ENDLESS, "a"], negative_prompt=["", ""], num_images_per_prompt=2)
        assert len(again[0]) == len(again[1]) == 4
        images = [image_of(pipeline, text, clip_skip=1) for text in (ENDLESS, OTHER_ENDLESS)]
        assert not torch.equal(*images)

    def test_clip_skip_and_a_cut_warn_once(self) -> None:
        pipeline = apply(tiny_pipeline("sd1"))
        with pytest.warns(PromptCut) as caught:
            embeds(pipeline, ENDLESS, clip_skip=1)
        assert len([one for one in caught if one.category is PromptCut]) == 1
