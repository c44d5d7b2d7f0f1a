"""What a pipeline's U-Net is given of its text encoders, layer for layer as diffusers takes it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from longclip.diffusion.emphasis import Weighting, drawn_from_empty, multiplied, scaled
from longclip.diffusion.pipeline import Slot, is_xl
from longclip.diffusion.windows import Tokens, framed
from longclip.errors import UsageError


def read_windows(
    pipeline: Any,
    slot: Slot,
    windows: Sequence[Sequence[Tokens]],
    *,
    clip_skip: int | None,
    weighting: Weighting,
) -> tuple[Tensor, Tensor | None]:
    """One encoder's states of a batch of prompts, all cut into the same number of windows.

    Windows are read one by one and set side by side. The pooled vector is the first window's.

    Args:
        pipeline: a diffusers pipeline with CLIP text encoders.
        slot: which of its encoders.
        windows: for each prompt the tokens of its windows, without start, end and padding.
        clip_skip: how many layers to leave out, as diffusers counts them.
        weighting: what a token's weight does.

    Returns:
        States [B, windows * T, D], and [B, P] or None if the encoder has no projection.
    """
    tokenizer = getattr(pipeline, slot.tokenizer)
    states: list[Tensor] = []
    pooled: list[Tensor | None] = []
    for batch in zip(*windows, strict=True):
        padded = [framed(tokenizer, tokens) for tokens in batch]
        hidden, vector = _read(pipeline, slot, padded, clip_skip)
        weights = torch.tensor([[token.weight for token in row] for row in padded])
        weights = weights.to(hidden.device)
        if weighting == "a1111":
            hidden = scaled(hidden, weights)
        elif weighting == "no-norm":
            hidden = multiplied(hidden, weights)
        elif bool((weights != 1).any()):
            empty, _ = _read(pipeline, slot, [framed(tokenizer, ())], clip_skip)
            hidden = drawn_from_empty(hidden, weights, empty)
        states.append(hidden)
        pooled.append(vector)
    return torch.cat(states, dim=1), pooled[0]


def check_clip_skip(pipeline: Any, slots: Sequence[Slot], clip_skip: int | None) -> None:
    """Refuse a number of layers that an encoder does not have.

    Raises:
        ValueError: naming the encoder and its layers.
    """
    if clip_skip is None:
        return
    for slot in slots:
        layers = getattr(pipeline, slot.name).config.num_hidden_layers
        # SDXL leaves out the last layer in any case. 0 layers: the embeddings themselves.
        most = layers - is_xl(pipeline)
        if not 0 <= clip_skip <= most:
            raise UsageError(
                f"clip_skip={clip_skip}: the {slot.name} of this {type(pipeline).__name__} has "
                f"{layers} layers; give a number from 0 to {most}"
            )


@contextmanager
def lora_scaled(pipeline: Any, slots: Sequence[Slot], scale: float | None) -> Iterator[None]:
    """LoRA layers of the encoders scaled by `scale`, and back afterwards."""
    if scale is None:
        yield
        return
    from diffusers.utils import peft_utils

    lora: Any = peft_utils  # untyped
    encoders = [getattr(pipeline, slot.name) for slot in slots]
    for encoder in encoders:
        lora.scale_lora_layers(encoder, scale)
    try:
        yield
    finally:
        for encoder in encoders:
            lora.unscale_lora_layers(encoder, scale)


def _read(
    pipeline: Any, slot: Slot, windows: Sequence[Tokens], clip_skip: int | None
) -> tuple[Tensor, Tensor | None]:
    """The layer that the pipeline's family takes of padded windows [B, T, D], and pooled [B, P]."""
    encoder = getattr(pipeline, slot.name)
    ids = torch.tensor([[token.id for token in row] for row in windows])
    ids = ids.to(_input_device(pipeline, encoder))
    xl = is_xl(pipeline)
    if not xl and clip_skip is None:
        return encoder(ids)[0], None
    output = encoder(ids, output_hidden_states=True)
    if xl:
        pooled = output[0] if output[0].ndim == 2 else None
        return output.hidden_states[-2 - (clip_skip or 0)], pooled
    assert clip_skip is not None
    # In transformers 4 the tower is one module further in.
    tower = getattr(encoder, "text_model", encoder)
    return tower.final_layer_norm(output.hidden_states[-1 - clip_skip]), None


def _input_device(pipeline: Any, encoder: Any) -> torch.device:
    """Where an encoder wants its input: under offloading not where its weights wait."""
    try:
        from diffusers.utils.torch_utils import get_module_execution_device
    except ImportError:  # older diffusers know one device for all of a pipeline
        device: torch.device = pipeline._execution_device
        return device
    return get_module_execution_device(encoder)
