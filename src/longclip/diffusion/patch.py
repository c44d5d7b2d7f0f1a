"""Exchange of a pipeline's text encoders and tokenizers for longer ones, and back.

The pipeline stays an ordinary one: what is put into it are stock classes of transformers, which
`save_pretrained` writes and `from_pretrained` reads where this package is not installed. Its
`encode_prompt` is wrapped to warn about prompts that are too long, or to encode them without a
limit.

A stretched encoder shares its weights with the original, which costs no memory, but what changes
weights in place (fusing a LoRA) changes both.
"""

import copy
import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any, get_args

from longclip.diffusion.conditioning import encode
from longclip.diffusion.encoders import (
    ClipSource,
    fused_layers,
    lengthened,
    load_text_tower,
    positions,
    replaced,
)
from longclip.diffusion.pipeline import Slot, is_xl, offloading_off, text_slots
from longclip.diffusion.windows import PromptCut, find_cuts, quiet_about_cuts, warn_of_cuts
from longclip.errors import UsageError
from longclip.model.clip import CLIP
from longclip.spec import KEEP, LONG_CONTEXT, STOCK_CONTEXT, Overflow

_REMEDY = (
    "Shorten it, or let it be read in several windows: "
    'longclip.diffusion.apply(pipeline, …, overflow="chunk")'
)

# The attribute of a pipeline that keeps its original encoders and tokenizers by name, for `undo`.
_ORIGINALS = "_longclip_applied"


def apply(
    pipeline: Any,
    *,
    text_encoder: ClipSource | None = None,
    text_encoder_2: ClipSource | None = None,
    context_length: int | None = None,
    keep: int = KEEP,
    overflow: Overflow = "warn",
) -> Any:
    """Give a diffusers pipeline long prompts; nothing is retrained.

    Each text encoder is exchanged for one of `context_length` tokens: a Long-CLIP, or the
    pipeline's own with its position table stretched (Long-CLIP, section 3.2; the paper's SDXL has
    a Long-CLIP ViT-L first and its own ViT-bigG stretched second). Since U-Nets read any number of
    tokens, that is all. Everything the pipeline does goes on working: negative prompts, prompt_2,
    clip_skip, LoRA, textual inversion, offloading, saving.

    Applied to an applied pipeline, it starts from the originals again: LoRAs and textual inversions
    loaded in between have to be loaded again for the text encoders.

    Args:
        pipeline: Stable Diffusion 1.x or 2.x, SDXL base or refiner; also image to image,
            inpainting, ControlNet and others that encode prompts in the same way.
        text_encoder: a Long-CLIP for the first encoder, given or named as for `longclip.load`;
            None stretches the pipeline's own. A CLIP of 77 tokens is stretched.
        text_encoder_2: the same for SDXL's second encoder, the refiner's only one.
        context_length: tokens per prompt, begin and end included; by default as many as the given
            Long-CLIPs have, or else 248.
        keep: how many first positions a stretched encoder keeps bit for bit.
        overflow: what becomes of longer prompts: "warn" cuts them and names what is cut in a
            `PromptCut` warning, "chunk" reads them in several windows (see `encode`).

    Returns:
        The same pipeline.

    Raises:
        UsageError: if the pipeline is of another kind or has no such encoder, a CLIP does not fit
            its encoder, or the lengths do not fit each other. The pipeline is then as before.
    """
    if overflow not in get_args(Overflow):
        raise UsageError(f"overflow {overflow!r} is not 'warn' or 'chunk'")
    slots = text_slots(pipeline)
    clips = _clips(pipeline, slots, text_encoder, text_encoder_2)
    with offloading_off(pipeline, slots):
        originals = _originals(pipeline, slots)
        own = {slot.name: originals[slot.name] for slot in slots}
        length = _context_length(own, clips, context_length)
        parts = {
            name: replaced(encoder, clips[name], length, keep)
            if name in clips
            else lengthened(encoder, length, keep)
            for name, encoder in own.items()
        }
        for slot in slots:
            parts[slot.tokenizer] = _longer_tokenizer(originals[slot.tokenizer], length)
        pipeline.register_modules(**parts)
    setattr(pipeline, _ORIGINALS, originals)
    # A bound method follows its pipeline when that is copied; a closure over it would not.
    pipeline.encode_prompt = MethodType(_long_encode_prompt(type(pipeline), overflow), pipeline)
    return pipeline


def undo(pipeline: Any) -> Any:
    """Put the encoders and tokenizers back that `apply` took out.

    What was loaded into the text encoders since, LoRA or textual inversion, goes with them.

    Returns:
        The same pipeline.

    Raises:
        UsageError: if nothing was applied, or a LoRA was fused or unfused since, which is in the
            weights of the originals, too.
    """
    if not hasattr(pipeline, _ORIGINALS):
        raise UsageError(
            "there is nothing to undo: longclip.diffusion.apply was not called on this pipeline. "
            "(A pipeline that was saved, or made by from_pipe, knows no other encoders.)"
        )
    slots = text_slots(pipeline)
    with offloading_off(pipeline, slots):
        pipeline.register_modules(**_originals(pipeline, slots))
    delattr(pipeline, _ORIGINALS)
    del pipeline.encode_prompt
    return pipeline


def _long_encode_prompt(kind: Any, overflow: Overflow) -> Any:
    """Return a method for the place of the `encode_prompt` of `kind`, a class of pipelines.

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
        embeds = [value for name, value in given.items() if name.endswith("prompt_embeds")]
        all_is_text = given["prompt"] is not None and all(value is None for value in embeds)
        clip_skip_fails = (
            given.get("clip_skip") is not None
            and not is_xl(pipeline)
            and not hasattr(pipeline.text_encoder, "text_model")
        )
        with quiet_about_cuts(original.__module__):
            cuts = [cut for read in _texts(pipeline, given) for cut in find_cuts(*read)]
            chunked = bool(cuts) and overflow == "chunk" and all_is_text
            if not chunked:
                warn_of_cuts(cuts, remedy=_REMEDY)
            if chunked or (clip_skip_fails and all_is_text):
                given.update(_embeddings(pipeline, given, overflow))
            return original(*bound.args, **bound.kwargs)

    return encode_prompt


def _texts(pipeline: Any, given: Mapping[str, Any]) -> Iterator[tuple[Any, list[str]]]:
    """Yield each tokenizer with the texts that it is going to read."""

    def listed(texts: str | Sequence[str] | None) -> list[str]:
        if texts is None:
            return []
        return [texts] if isinstance(texts, str) else list(texts)

    prompt, negative = given["prompt"], given["negative_prompt"]
    prompts = prompt, given.get("prompt_2") or prompt
    negatives = negative, given.get("negative_prompt_2") or negative
    # diffusers, too, gives the refiner's only encoder the first prompt.
    for slot, positive, opposite in zip(text_slots(pipeline), prompts, negatives, strict=False):
        texts = listed(positive) if given["prompt_embeds"] is None else []
        if given["do_classifier_free_guidance"] and given["negative_prompt_embeds"] is None:
            texts += listed(opposite)
        tokenizer = getattr(pipeline, slot.tokenizer)
        if hasattr(pipeline, "maybe_convert_prompt"):
            texts = pipeline.maybe_convert_prompt(texts, tokenizer)
        if texts:
            yield tokenizer, texts


def _embeddings(pipeline: Any, given: Mapping[str, Any], overflow: Overflow) -> dict[str, Any]:
    """Return arguments in the place of texts; diffusers still repeats them for each image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptCut)  # there was a warning, with apply's own remedy
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


def _clips(
    pipeline: Any, slots: tuple[Slot, ...], first: ClipSource | None, second: ClipSource | None
) -> dict[str, CLIP]:
    """Return the CLIPs that are given or named, by the encoders that they are for."""
    given = {"text_encoder": first, "text_encoder_2": second}
    there = [slot.name for slot in slots]
    for name, source in given.items():
        if source is not None and name not in there:
            kind = "SDXL" if is_xl(pipeline) else "SD"
            raise UsageError(
                f"this {kind} pipeline has no {name} to exchange; it has {' and '.join(there)}"
            )
    return {name: load_text_tower(source) for name, source in given.items() if source is not None}


def _longer_tokenizer(tokenizer: Any, length: int) -> Any:
    """Return a copy of a tokenizer that passes on `length` tokens."""
    longer = copy.deepcopy(tokenizer)
    longer.model_max_length = length
    # transformers 5 repairs a CLIPTokenizer's decoding by a wrapper that it puts on when it makes
    # one. A copy loses it, and would leave the marks of words' ends in.
    mend = getattr(longer, "_wrap_decode_method_backend_tokenizer", None)
    if mend is not None:
        mend()
    return longer


def _originals(pipeline: Any, slots: tuple[Slot, ...]) -> dict[str, Any]:
    """Return encoders and tokenizers as before anything was applied, where the present ones are.

    Raises:
        UsageError: if a LoRA was fused or unfused since, in weights that the originals share.
    """
    originals: dict[str, Any] | None = getattr(pipeline, _ORIGINALS, None)
    if originals is None:
        names = [name for slot in slots for name in (slot.name, slot.tokenizer)]
        return {name: getattr(pipeline, name) for name in names}
    for slot in slots:
        original, current = originals[slot.name], getattr(pipeline, slot.name)
        shared = {parameter.data_ptr() for parameter in original.parameters()}
        before = fused_layers(original)
        for name in before ^ fused_layers(current):
            weights = current.get_submodule(name).get_base_layer().parameters()
            if any(parameter.data_ptr() in shared for parameter in weights):
                now, remedy = (
                    ("unfused", "fuse_lora") if name in before else ("fused", "unfuse_lora")
                )
                raise UsageError(
                    f"since longclip.diffusion.apply a LoRA was {now} in the text encoder, and its "
                    f"weights are the original's, too; call pipeline.{remedy}() first"
                )
        if (original.device, original.dtype) != (current.device, current.dtype):
            # Shared weights have moved with the pipeline; what is not shared has not.
            original.to(device=current.device, dtype=current.dtype)
    return originals


def _context_length(
    encoders: Mapping[str, Any], clips: Mapping[str, CLIP], wanted: int | None
) -> int:
    """Return the number of tokens that all encoders are to read, `wanted` or the longest CLIP's."""
    lengths = {
        name: clips[name].context_length if name in clips else positions(encoder)
        for name, encoder in encoders.items()
    }
    listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if wanted is None:
        long = {length for length in lengths.values() if length > STOCK_CONTEXT}
        if len(long) > 1:
            raise UsageError(
                f"all encoders of a pipeline must read the same number of tokens ({listed}); say "
                "which with context_length=, at least the largest, and the others are stretched"
            )
        return long.pop() if long else LONG_CONTEXT
    if wanted < max(lengths.values()):
        raise UsageError(
            f"context_length {wanted} is less than the encoders already read ({listed}); "
            "encoders are lengthened only"
        )
    return wanted
