"""Prompts of any length, with emphasis, as the embeddings a diffusers pipeline is called with."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from longclip.diffusion.emphasis import Weighting, parse_prompt, unweighted
from longclip.diffusion.hidden_states import check_clip_skip, lora_scaled, read_windows
from longclip.diffusion.pipeline import Slot, is_xl, text_slots
from longclip.diffusion.windows import (
    Cut,
    Tokens,
    as_text,
    cut_windows,
    quiet_about_cuts,
    split_words,
    tokens_of,
    warn_of_cuts,
)
from longclip.errors import UsageError
from longclip.spec import Overflow

REMEDY = 'Shorten it, or let it be read in several windows: overflow="chunk"'

# The windows of one encoder: prompts, then windows.
Windows = list[list[Tokens]]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a pipeline's U-Net is given of its prompts.

    Attributes:
        prompt_embeds: [B, T, D] in the text encoder's dtype; T is a multiple of the window.
        negative_prompt_embeds: the same shape; None without guidance.
        pooled_prompt_embeds: [B, P]; None but in SDXL.
        negative_pooled_prompt_embeds: [B, P]; None but in SDXL with guidance.
    """

    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor | None = None
    pooled_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None

    @property
    def kwargs(self) -> dict[str, Tensor]:
        """What there is, by the names of a pipeline's arguments: `pipe(**conditioning.kwargs)`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def encode(
    pipeline: Any,
    prompt: str | list[str],
    *,
    prompt_2: str | list[str] | None = None,
    negative_prompt: str | list[str] | None = None,
    negative_prompt_2: str | list[str] | None = None,
    guidance: bool = True,
    clip_skip: int | None = None,
    weights: bool = True,
    weighting: Weighting = "a1111",
    overflow: Overflow = "chunk",
    lora_scale: float | None = None,
) -> Conditioning:
    r"""Read prompts with a pipeline's own text encoders: `pipe(**encode(pipe, "a cat").kwargs)`.

    For any SD 1.x, SD 2.x or SDXL pipeline, with the encoders that it came with or longer ones. A
    prompt that fits and has no marks gives, bit for bit, what the pipeline's `encode_prompt` gives:
    the same layer, final norm, padding and pooled vector.

    A longer prompt is cut into windows at the ends of words, if possible of a sentence or a clause.
    They are read one by one and set side by side; the U-Net attends to all of them. The pooled
    vector is the first window's, as in AUTOMATIC1111's web UI and ComfyUI. Prompts and negative
    prompts of a call get the same number of windows, the shorter ones empty windows at the end.

    Args:
        pipeline: a diffusers pipeline.
        prompt: one or a batch.
        prompt_2: for SDXL's second encoder, if that is to read something else. The refiner reads
            `prompt`, as in diffusers.
        negative_prompt: what to guide away from; one for the whole batch, or as many as prompts.
            None is the empty prompt, or zeros in an SDXL pipeline that is so configured.
        negative_prompt_2: for SDXL's second encoder.
        guidance: whether negative embeddings are wanted; pipelines with guidance_scale > 1 need
            them.
        clip_skip: how many of the last layers to leave out, counted as in diffusers. In SD, 1 is
            "Clip skip 2" of the web UI and layer −2 of ComfyUI; SDXL counts from the second to
            last, so that 1 is −3. As in diffusers, negative prompts are read without it; those
            programs apply it to both.
        weights: whether to read `(word:1.3)`, `[word]` and BREAK (see longclip.diffusion.emphasis);
            if not, brackets are text.
        weighting: what a weight does. "a1111" multiplies a token's states by it and restores the
            mean, "no-norm" only multiplies them (the web UI's advice for SDXL), "comfyui" moves
            them away from those of an empty prompt.
        overflow: "chunk" for windows; "warn" keeps what fits one window, warns of the rest with
            PromptCut and leaves it out. A BREAK starts a window in both.
        lora_scale: scale of LoRA layers in the text encoders.

    Returns:
        Embeddings without gradients, on the pipeline's device and in its text encoder's dtype.

    Raises:
        ValueError: for a pipeline of another kind, prompts and negative prompts of different
            numbers, a clip_skip beyond the encoder's layers, or a tokenizer that passes on more
            tokens than its encoder reads.
    """
    slots = text_slots(pipeline)
    _check_options(weighting, overflow)
    _check_window(pipeline, slots)
    check_clip_skip(pipeline, slots, clip_skip)
    positive, negative = _texts(
        pipeline, prompt, prompt_2, negative_prompt, negative_prompt_2, guidance
    )
    cuts: list[Cut] = []
    cut = partial(_windows, pipeline, weights=weights, cuts=cuts if overflow == "warn" else None)
    with quiet_about_cuts():
        sides = [
            # The refiner has one encoder, and gives it the first texts.
            [[cut(slot, text) for text in texts] for slot, texts in zip(slots, side, strict=False)]
            for side in (positive, negative)
            if side is not None
        ]
    warn_of_cuts(cuts, remedy=REMEDY)
    count = max(len(windows) for side in sides for batch in side for windows in batch)
    with torch.no_grad(), lora_scaled(pipeline, slots, lora_scale):
        # Negative prompts go without clip_skip.
        read = [
            _read_side(pipeline, slots, side, count, skip, weighting)
            for side, skip in zip(sides, (clip_skip, None), strict=False)
        ]
    embeds, pooled = read[0]
    if len(read) == 2:
        return Conditioning(embeds, read[1][0], pooled, read[1][1])
    if not guidance:
        return Conditioning(embeds, None, pooled, None)
    assert pooled is not None
    return Conditioning(embeds, torch.zeros_like(embeds), pooled, torch.zeros_like(pooled))


def _check_options(weighting: str, overflow: str) -> None:
    for name, value, known in (
        ("weighting", weighting, get_args(Weighting)),
        ("overflow", overflow, get_args(Overflow)),
    ):
        if value not in known:
            raise UsageError(f"{name}={value!r}: give one of {', '.join(map(repr, known))}")


def _check_window(pipeline: Any, slots: Sequence[Slot]) -> None:
    lengths = [getattr(pipeline, slot.tokenizer).model_max_length for slot in slots]
    for slot, length in zip(slots, lengths, strict=True):
        rows = getattr(pipeline, slot.name).config.max_position_embeddings
        if length > rows:
            raise UsageError(
                f"{slot.tokenizer}.model_max_length is {length}, and {slot.name} reads "
                f"{rows} tokens; set it to {rows}, or lengthen the encoders with "
                "longclip.diffusion.apply(pipeline)"
            )
    if len(set(lengths)) > 1:
        raise UsageError(
            f"tokenizer.model_max_length is {lengths[0]} and tokenizer_2.model_max_length "
            f"{lengths[1]}: SDXL's encoders are read side by side and need the same length; "
            "longclip.diffusion.apply(pipeline) sets both"
        )


def _texts(
    pipeline: Any,
    prompt: str | list[str],
    prompt_2: str | list[str] | None,
    negative_prompt: str | list[str] | None,
    negative_prompt_2: str | list[str] | None,
    guidance: bool,
) -> tuple[list[list[str]], list[list[str]] | None]:
    """Positive and negative texts for each encoder; None if the negatives are zeros or unwanted."""
    xl = is_xl(pipeline)
    for name, text in (("prompt_2", prompt_2), ("negative_prompt_2", negative_prompt_2)):
        if text is not None and not xl:
            raise UsageError(
                f"{name}: this {type(pipeline).__name__} has one text encoder; leave it out"
            )
    prompts = _batch("prompt", prompt, None)
    positive = [prompts, _batch("prompt_2", prompt_2 or prompts, len(prompts))]
    zeros = negative_prompt is None and getattr(
        pipeline.config, "force_zeros_for_empty_prompt", False
    )
    if not guidance or (xl and zeros):
        return positive, None
    negatives = _batch("negative_prompt", negative_prompt or "", len(prompts))
    second = _batch("negative_prompt_2", negative_prompt_2 or negatives, len(prompts))
    return positive, [negatives, second]


def _batch(name: str, text: str | list[str], count: int | None) -> list[str]:
    """A list of `count` texts."""
    if isinstance(text, str):
        return [text] * (1 if count is None else count)
    if not (isinstance(text, list) and text and all(isinstance(one, str) for one in text)):
        raise UsageError(f"{name}: give a text or a list of texts, not {text!r}")
    if count is not None and len(text) != count:
        raise UsageError(
            f"{name} has {len(text)} texts and prompt {count}; give one for each, or a single text "
            "for all"
        )
    return text


def _windows(
    pipeline: Any, slot: Slot, text: str, *, weights: bool, cuts: list[Cut] | None
) -> list[Tokens]:
    """A prompt's windows, without start and end. With `cuts`, what does not fit is put there."""
    tokenizer = getattr(pipeline, slot.tokenizer)
    limit = tokenizer.model_max_length
    room = limit - 2

    def convert(piece: str) -> str:
        # Pipelines without textual inversion have no such method.
        if hasattr(pipeline, "maybe_convert_prompt"):
            converted: str = pipeline.maybe_convert_prompt(piece, tokenizer)
            return converted
        return piece

    windows: list[Tokens] = []
    for section in parse_prompt(text) if weights else unweighted(text):
        words = split_words(tokenizer, section, convert)
        if cuts is None:
            windows += cut_windows(words, room)
            continue
        # As diffusers does, to the token.
        tokens = tokens_of(words)
        windows.append(tokens[:room])
        if len(tokens) > room:
            lost = as_text(tokenizer, [token.id for token in tokens[room:]])
            cuts.append(Cut(len(tokens) + 2, limit, lost))
    return windows


def _read_side(
    pipeline: Any,
    slots: Sequence[Slot],
    side: Sequence[Windows],
    count: int,
    clip_skip: int | None,
    weighting: Weighting,
) -> tuple[Tensor, Tensor | None]:
    """Positive or negative prompts of all encoders, filled up to `count` windows."""
    states = []
    for slot, batch in zip(slots, side, strict=True):
        filled = [windows + [()] * (count - len(windows)) for windows in batch]
        hidden, pooled = read_windows(
            pipeline, slot, filled, clip_skip=clip_skip, weighting=weighting
        )
        states.append(hidden)
    device = pipeline._execution_device
    # The last encoder's dtype and pooled vector are the pipeline's.
    dtype = getattr(pipeline, slots[-1].name).dtype
    embeds = torch.cat([hidden.to(device) for hidden in states], dim=-1)
    return embeds.to(dtype), None if pooled is None else pooled.to(device)
