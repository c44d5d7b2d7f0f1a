"""Helpers of the tests of `apply`: quick tiny pipelines, long prompts, and their embeddings."""

import functools
from typing import Any

import torch
from torch import Tensor

from tests.helpers import pipelines as tiny_pipelines
from tests.helpers.pipelines import SENTENCE, Family

# 112 tokens with begin and end, of which only the last word is another; and 328.
LONG, OTHER = SENTENCE * 12 + "a dog", SENTENCE * 12 + "a cat"
ENDLESS, OTHER_ENDLESS = SENTENCE * 36 + "a dog", SENTENCE * 36 + "a cat"

# With few words all is quicker.
tiny_pipeline = functools.partial(tiny_pipelines.tiny_pipeline, small=True)
tiny_clip = functools.partial(tiny_pipelines.tiny_clip, small=True)

SLOTS = {
    "sd1": ["text_encoder"],
    "sd2": ["text_encoder"],
    "sdxl": ["text_encoder", "text_encoder_2"],
    "refiner": ["text_encoder_2"],
}


def clips(family: Family) -> dict[str, Any]:
    """A Long-CLIP for each of a family's encoders."""
    return {slot: tiny_clip(family, slot) for slot in SLOTS[family]}


@torch.no_grad()
def embeds(pipeline: Any, prompt: Any = LONG, **more: Any) -> tuple[Tensor, ...]:
    """Return what the U-Net is given: embeddings and negatives, in SDXL also pooled ones."""
    more = {"num_images_per_prompt": 1, "do_classifier_free_guidance": True} | more
    return pipeline.encode_prompt(prompt=prompt, device="cpu", **more)


def same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
