"""Embeddings of prompts of any length, with emphasis, for a diffusers pipeline to be called with.

A longer prompt than an encoder reads is cut into windows at the ends of words, if possible of a
sentence or a clause. They are read one by one and set side by side; the U-Net attends to all of
them. The pooled vector is the first window's, as in AUTOMATIC1111's web UI and ComfyUI. Prompts and
negative prompts of a call get the same number of windows, the shorter ones empty windows at the
end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch
from torch import Tensor

from longclip.diffusion.emphasis import parse_prompt, unweighted
from longclip.diffusion.hidden_states import (
    Weighting,
    check_clip_skip,
    lora_scaled,
    read_windows,
)
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
from longclip.spec import SPECIAL_TOKENS, Overflow

_REMEDY = 'Shorten it, or let it be read in several windows: overflow="chunk"'

# Of all prompts of a call or all negative ones: texts for each encoder, and each text's windows.
_Texts = list[list[str]]
_Windows = list[list[list[Tokens]]]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Embeddings that a pipeline's U-Net is given in the place of prompts.

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
        """The tensors by the names of a pipeline's arguments: `pipe(**conditioning.kwargs)`."""
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

    Args:
        pipeline: a diffusers pipeline.
        prompt: one or a batch.
        prompt_2: for SDXL's second encoder, if that is to read something else.
        negative_prompt: what to guide away from; one for the whole batch, or as many as prompts.
            None is the empty prompt, or zeros in an SDXL pipeline that is so configured.
        negative_prompt_2: for SDXL's second encoder.
        guidance: return negative embeddings, too, which guidance_scale > 1 needs.
        clip_skip: last layers to leave out, counted as in diffusers (see `hidden_states`). As
            there, negative prompts are read without it; web UIs and ComfyUI apply it to both.
        weights: read `(word:1.3)`, `[word]` and BREAK (see `emphasis`); else brackets are text.
        weighting: the rule by which a weight acts.
        overflow: "chunk" for windows; "warn" keeps what fits one window, warns of the rest with
            PromptCut and leaves it out. A BREAK starts a window in both.
        lora_scale: scale of LoRA layers in the text encoders.

    Returns:
        Embeddings without gradients, on the pipeline's device and in its text encoder's dtype.

    Raises:
        UsageError: for a pipeline of another kind, prompts and negative prompts of different
            numbers, a clip_skip beyond the encoder's layers, or a tokenizer that passes on more
            tokens than its encoder reads.
    """
    slots = text_slots(pipeline)
    _check_call(pipeline, slots, weighting, overflow, clip_skip)
    sides = _texts(pipeline, prompt, prompt_2, negative_prompt, negative_prompt_2, guidance)
    windows, cuts = _cut(pipeline, slots, sides, weights=weights, overflow=overflow)
    warn_of_cuts(cuts, remedy=_REMEDY)
    with torch.no_grad(), lora_scaled(pipeline, slots, lora_scale):
        read = [
            _read_side(pipeline, slots, side, skip, weighting)
            for side, skip in zip(windows, (clip_skip, None), strict=False)
        ]
    embeds, pooled = read[0]
    if guidance and len(read) == 1:
        assert pooled is not None
        read.append((torch.zeros_like(embeds), torch.zeros_like(pooled)))
    negative, negative_pooled = read[1] if guidance else (None, None)
    return Conditioning(embeds, negative, pooled, negative_pooled)


def _check_call(
    pipeline: Any,
    slots: Sequence[Slot],
    weighting: Weighting,
    overflow: Overflow,
    clip_skip: int | None,
) -> None:
    """Refuse what a pipeline's encoders cannot do, before anything is read."""
    for name, value, known in (
        ("weighting", weighting, get_args(Weighting)),
        ("overflow", overflow, get_args(Overflow)),
    ):
        if value not in known:
            raise UsageError(f"{name}={value!r}: give one of {', '.join(map(repr, known))}")
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
    check_clip_skip(pipeline, slots, clip_skip)


def _texts(
    pipeline: Any,
    prompt: str | list[str],
    prompt_2: str | list[str] | None,
    negative_prompt: str | list[str] | None,
    negative_prompt_2: str | list[str] | None,
    guidance: bool,
) -> list[_Texts]:
    """Return the prompts for each encoder, and the negative ones unless they are zeros or unwanted.

    All of them are for two encoders; where there is one, it reads the first, also the refiner's.
    """
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
        return [positive]
    negatives = _batch("negative_prompt", negative_prompt or "", len(prompts))
    second = _batch("negative_prompt_2", negative_prompt_2 or negatives, len(prompts))
    return [positive, [negatives, second]]


def _batch(name: str, text: str | list[str], count: int | None) -> list[str]:
    """Return a list of `count` texts; of as many as there are where that is None."""
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


def _cut(
    pipeline: Any,
    slots: Sequence[Slot],
    sides: Sequence[_Texts],
    *,
    weights: bool,
    overflow: Overflow,
) -> tuple[list[_Windows], list[Cut]]:
    """Cut all texts of a call into the same number of windows.

    Returns:
        The windows, without start and end, and with "warn" what was cut off.
    """
    cuts: list[Cut] = []
    with quiet_about_cuts():
        found = [
            [
                [_windows(pipeline, slot, text, weights, overflow, cuts) for text in texts]
                # As in diffusers, the only encoder of the refiner is given the first texts.
                for slot, texts in zip(slots, side, strict=False)
            ]
            for side in sides
        ]
    count = max(len(windows) for side in found for batch in side for windows in batch)
    empty: Tokens = ()
    filled = [
        [[windows + [empty] * (count - len(windows)) for windows in batch] for batch in side]
        for side in found
    ]
    return filled, cuts


def _windows(
    pipeline: Any, slot: Slot, text: str, weights: bool, overflow: Overflow, cuts: list[Cut]
) -> list[Tokens]:
    """Return a prompt's windows, without start and end; add to `cuts` what was cut off."""
    tokenizer = getattr(pipeline, slot.tokenizer)
    limit = tokenizer.model_max_length
    capacity = limit - SPECIAL_TOKENS

    def spell_out(piece: str) -> str:
        # Pipelines without textual inversion have no such method.
        if hasattr(pipeline, "maybe_convert_prompt"):
            converted: str = pipeline.maybe_convert_prompt(piece, tokenizer)
            return converted
        return piece

    windows: list[Tokens] = []
    for section in parse_prompt(text) if weights else unweighted(text):
        words = split_words(tokenizer, section, spell_out)
        if overflow == "chunk":
            windows += cut_windows(words, capacity)
            continue
        # As diffusers does, to the token.
        tokens = tokens_of(words)
        windows.append(tokens[:capacity])
        if len(tokens) > capacity:
            lost = as_text(tokenizer, [token.id for token in tokens[capacity:]])
            cuts.append(Cut(len(tokens) + SPECIAL_TOKENS, limit, lost))
    return windows


def _read_side(
    pipeline: Any,
    slots: Sequence[Slot],
    side: _Windows,
    clip_skip: int | None,
    weighting: Weighting,
) -> tuple[Tensor, Tensor | None]:
    """Read prompts or negative prompts with all encoders, whose states stand side by side."""
    states = []
    for slot, batch in zip(slots, side, strict=True):
        hidden, pooled = read_windows(
            pipeline, slot, batch, clip_skip=clip_skip, weighting=weighting
        )
        states.append(hidden)
    device = pipeline._execution_device
    # The last encoder's dtype and pooled vector are the pipeline's.
    dtype = getattr(pipeline, slots[-1].name).dtype
    embeds = torch.cat([hidden.to(device) for hidden in states], dim=-1)
    return embeds.to(dtype), None if pooled is None else pooled.to(device)
