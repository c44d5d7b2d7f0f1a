"""Hidden states of a pipeline's text encoders, layer for layer as diffusers takes them.

`clip_skip` counts as in diffusers. In SD, 1 is "Clip skip 2" of the web UI and layer −2 of ComfyUI;
SDXL counts from the second to last layer, so that 1 is −3.

A weight of a word acts on these states. They carry more than their own token, so no rule follows
from the model: the ones here are those that people know. All work in float32, and none changes a
bit where all weights are 1. In SDXL each encoder's states are weighted on their own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from longclip.diffusion.pipeline import Slot, is_xl
from longclip.diffusion.windows import Tokens, framed
from longclip.errors import EncoderError, UsageError

Weighting = Literal["a1111", "no-norm", "comfyui"]
"""Rule of a weight: multiply a token's states and restore their mean, as AUTOMATIC1111's web UI;
only multiply them, its advice for SDXL; or move them away from the empty prompt's, as ComfyUI."""


def read_windows(
    pipeline: Any,
    slot: Slot,
    windows: Sequence[Sequence[Tokens]],
    *,
    clip_skip: int | None,
    weighting: Weighting,
) -> tuple[Tensor, Tensor | None]:
    """Return one encoder's states of a batch of prompts, all cut into as many windows.

    Windows are read one by one and set side by side. The pooled vector is the first window's.

    Args:
        pipeline: a diffusers pipeline with CLIP text encoders.
        slot: which of its encoders.
        windows: for each prompt the tokens of its windows, without start, end and padding.
        clip_skip: how many layers to leave out, as diffusers counts them.
        weighting: the rule by which a token's weight acts.

    Returns:
        States [B, windows * T, D], and [B, P] or None if the encoder has no projection.

    Raises:
        EncoderError: if the encoder gives numbers that are not finite.
    """
    tokenizer = getattr(pipeline, slot.tokenizer)
    states: list[Tensor] = []
    pooled: list[Tensor | None] = []
    for batch in zip(*windows, strict=True):
        padded = [framed(tokenizer, tokens) for tokens in batch]
        hidden, vector = _read(pipeline, slot, padded, clip_skip)
        if not all(bool(one.isfinite().all()) for one in (hidden, vector) if one is not None):
            raise EncoderError(
                f"the pipeline's {slot.name} gives numbers that are not finite: its weights are "
                f"damaged, or too large for {hidden.dtype}; load another one, or in float32"
            )
        weights = torch.tensor([[token.weight for token in row] for row in padded])
        if bool((weights != 1).any()):
            empty = None
            if weighting == "comfyui":
                empty, _ = _read(pipeline, slot, [framed(tokenizer, ())], clip_skip)
            hidden = _weighted(hidden, weights.to(hidden.device), weighting, empty)
        states.append(hidden)
        pooled.append(vector)
    return torch.cat(states, dim=1), pooled[0]


def check_clip_skip(pipeline: Any, slots: Sequence[Slot], clip_skip: int | None) -> None:
    """Refuse a number of layers that an encoder does not have.

    Raises:
        UsageError: naming the encoder and its layers.
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
    """Scale the LoRA layers of the encoders, and scale them back afterwards."""
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
    """Return the layer [B, T, D] that the pipeline's family takes, and the pooled vector [B, P]."""
    encoder = getattr(pipeline, slot.name)
    ids = torch.tensor([[token.id for token in row] for row in windows])
    try:
        from diffusers.utils.torch_utils import get_module_execution_device

        # Under offloading not the device on which the encoder's weights wait.
        device = get_module_execution_device(encoder)
    except ImportError:  # older diffusers know one device for all of a pipeline
        device = pipeline._execution_device
    ids = ids.to(device)
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


def _weighted(
    hidden_BTD: Tensor, weights_BT: Tensor, weighting: Weighting, empty_1TD: Tensor | None
) -> Tensor:
    """Apply the weights of the tokens to the hidden states of one window of every prompt.

    Args:
        hidden_BTD: the hidden states.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
        weighting: the rule by which they act.
        empty_1TD: hidden states of the empty prompt, which "comfyui" needs.
    """
    states, weights = hidden_BTD.float(), weights_BT[..., None]
    changes = weights != 1
    if weighting == "comfyui":
        assert empty_1TD is not None
        empty = empty_1TD.float()
        weighted = empty + weights * (states - empty)
    else:
        # The web UI's "No norm" mode, which it recommends for SDXL: the mean of SDXL's states is
        # near zero, and to restore it can scale a window by any factor.
        weighted = states * weights
    if weighting == "a1111":
        # Its "Original" mode. The mean is over all tokens and channels of one prompt's window. The
        # web UI takes it over a batch of different prompts, which makes a prompt depend on its
        # neighbours; for one prompt the two are the same.
        mean = states.mean((1, 2), keepdim=True)
        weighted = weighted * (mean / weighted.mean((1, 2), keepdim=True))
        changes = changes.any(1, keepdim=True)
    return torch.where(changes, weighted.to(hidden_BTD.dtype), hidden_BTD)
