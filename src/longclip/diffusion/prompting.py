"""A pipeline's `encode_prompt`, with a word about prompts that are too long, or without a limit."""

import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from longclip.diffusion.encoding import Overflow, encode
from longclip.diffusion.families import is_xl, text_slots
from longclip.diffusion.limits import find_cuts, quiet_about_cuts, warn_of_cuts
from longclip.diffusion.windows import PromptCut

REMEDY = (
    "Shorten it, or let it be read in several windows: "
    'longclip.diffusion.apply(pipeline, …, overflow="chunk")'
)


def long_encode_prompt(kind: Any, overflow: Overflow) -> Any:
    """A method in the place of the `encode_prompt` of `kind`, a class of pipelines.

    It leaves all to diffusers but two cases, which it computes with `longclip.diffusion.encode`
    and hands on as embeddings: prompts that are too long (with "chunk"), and SD's clip_skip, for
    which diffusers reads an attribute that transformers' CLIPTextModel lost when it became flat.
    (To give it the attribute back would be shorter, but diffusers' LoRA loader takes it for a
    sign of the old nested names, and would load nothing.)
    """
    original = kind.encode_prompt
    signature = inspect.signature(original)

    @functools.wraps(original)
    def encode_prompt(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(pipeline, *args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        with quiet_about_cuts(original.__module__):
            cuts = [cut for read in _texts(pipeline, given) for cut in find_cuts(*read)]
            chunked = bool(cuts) and overflow == "chunk"
            if not (chunked and _all_is_text(given)):
                warn_of_cuts(cuts, remedy=REMEDY)
            if (chunked or _clip_skip_fails(pipeline, given)) and _all_is_text(given):
                given.update(_encoded(pipeline, given, overflow))
            return original(*bound.args, **bound.kwargs)

    return encode_prompt


def _texts(pipeline: Any, given: Mapping[str, Any]) -> Iterator[tuple[Any, list[str]]]:
    """Each tokenizer with the texts that it is going to read."""
    prompt, negative = given["prompt"], given["negative_prompt"]
    prompts = prompt, given.get("prompt_2") or prompt
    negatives = negative, given.get("negative_prompt_2") or negative
    # diffusers, too, gives the refiner's only encoder the first prompt.
    for slot, positive, opposite in zip(text_slots(pipeline), prompts, negatives, strict=False):
        texts = _list(positive) if given["prompt_embeds"] is None else []
        if given["do_classifier_free_guidance"] and given["negative_prompt_embeds"] is None:
            texts += _list(opposite)
        tokenizer = getattr(pipeline, slot.tokenizer)
        if hasattr(pipeline, "maybe_convert_prompt"):
            texts = pipeline.maybe_convert_prompt(texts, tokenizer)
        if texts:
            yield tokenizer, texts


def _list(texts: str | Sequence[str] | None) -> list[str]:
    if texts is None:
        return []
    return [texts] if isinstance(texts, str) else list(texts)


def _clip_skip_fails(pipeline: Any, given: Mapping[str, Any]) -> bool:
    """Whether diffusers would look for `text_encoder.text_model` in vain."""
    return (
        given.get("clip_skip") is not None
        and not is_xl(pipeline)
        and not hasattr(pipeline.text_encoder, "text_model")
    )


def _all_is_text(given: Mapping[str, Any]) -> bool:
    """Whether nothing has been encoded yet."""
    return given["prompt"] is not None and all(
        value is None for name, value in given.items() if name.endswith("prompt_embeds")
    )


def _encoded(pipeline: Any, given: Mapping[str, Any], overflow: Overflow) -> dict[str, Any]:
    """What to give diffusers in the place of texts; repeating it for each image stays its work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptCut)  # it has been said, with apply's own remedy
        conditioning = encode(
            pipeline,
            given["prompt"],
            prompt_2=given.get("prompt_2"),
            negative_prompt=given["negative_prompt"],
            negative_prompt_2=given.get("negative_prompt_2"),
            guidance=given["do_classifier_free_guidance"],
            clip_skip=given.get("clip_skip"),
            lora_scale=given.get("lora_scale"),
            weights=False,
            overflow=overflow,
        )
    return {"prompt": None, **conditioning.kwargs}
