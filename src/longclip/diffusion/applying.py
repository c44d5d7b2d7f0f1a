"""Long prompts in a pipeline: its text encoders and tokenizers exchanged for longer ones, and back.

The pipeline stays an ordinary one: what is put into it are stock classes of transformers, which
`save_pretrained` writes and `from_pretrained` reads where this package is not installed.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any, get_args

from longclip.checkpoints.formats.longclip import KEEP
from longclip.diffusion.encoders import fused_layers, lengthened, open_source, positions, replaced
from longclip.diffusion.encoding import Overflow
from longclip.diffusion.families import Slot, is_xl, text_slots
from longclip.diffusion.offloading import offloading_off
from longclip.diffusion.prompting import long_encode_prompt
from longclip.errors import UsageError
from longclip.model.clip import CLIP
from longclip.model.stretch import CONTEXT_LENGTH

Source = str | Path | CLIP

STOCK_LENGTH = 77

# Where a pipeline keeps what `undo` needs.
_STATE = "_longclip_applied"


@dataclass(frozen=True)
class _Applied:
    """Encoders and tokenizers as they were, by the pipeline's names for them."""

    originals: Mapping[str, Any]


def apply(
    pipeline: Any,
    *,
    text_encoder: Source | None = None,
    text_encoder_2: Source | None = None,
    context_length: int | None = None,
    keep: int = KEEP,
    overflow: Overflow = "warn",
) -> Any:
    """Gives a diffusers pipeline long prompts; nothing is retrained.

    Each text encoder is exchanged for one of `context_length` tokens: a Long-CLIP, or the
    pipeline's own with its position table stretched (Long-CLIP, section 3.2; the paper's SDXL has
    a Long-CLIP ViT-L first and its own ViT-bigG stretched second). Since U-Nets read any number of
    tokens, that is all. Everything the pipeline does goes on working: negative prompts, prompt_2,
    clip_skip, LoRA, textual inversion, offloading, saving.

    A stretched encoder shares its weights with the original, which costs no memory, but what
    changes weights in place (fusing a LoRA) changes both. Applied to an applied pipeline, it starts
    from the originals again: LoRAs and textual inversions loaded in between have to be loaded again
    for the text encoders.

    Args:
        pipeline: Stable Diffusion 1.x or 2.x, SDXL base or refiner; also image to image,
            inpainting, ControlNet and others that encode prompts in the same way.
        text_encoder: a Long-CLIP for the first encoder, given or named as for `longclip.load`
            (file, directory, hub id); None stretches the pipeline's own. A CLIP of 77 tokens is
            stretched.
        text_encoder_2: the same for SDXL's second encoder, the refiner's only one.
        context_length: tokens per prompt, begin and end included; by default as many as the given
            Long-CLIPs have, or else 248.
        keep: how many first positions a stretched encoder keeps bit for bit.
        overflow: what becomes of longer prompts: "warn" cuts them and says what is cut in a
            `PromptCut` warning, "chunk" reads them in several windows (see `encode`).

    Returns:
        The same pipeline.

    Raises:
        ValueError: if the pipeline is of another kind or has no such encoder, a CLIP does not fit
            its encoder, or the lengths do not fit each other. The pipeline is then as before.
    """
    if overflow not in get_args(Overflow):
        raise UsageError(f"overflow {overflow!r} is not 'warn' or 'chunk'")
    slots = text_slots(pipeline)
    sources = _sources(pipeline, slots, text_encoder, text_encoder_2)
    with offloading_off(pipeline, slots):
        originals = _originals(pipeline, slots)
        own = {slot.name: originals[slot.name] for slot in slots}
        length = _context_length(own, sources, context_length)
        parts = {
            name: replaced(encoder, sources[name], length, keep)
            if name in sources
            else lengthened(encoder, length, keep)
            for name, encoder in own.items()
        }
        for slot in slots:
            parts[slot.tokenizer] = _longer_tokenizer(originals[slot.tokenizer], length)
        pipeline.register_modules(**parts)
    setattr(pipeline, _STATE, _Applied(originals))
    # A bound method follows its pipeline when that is copied; a closure over it would not.
    method = long_encode_prompt(type(pipeline), overflow)
    pipeline.encode_prompt = MethodType(method, pipeline)
    return pipeline


def undo(pipeline: Any) -> Any:
    """Puts the encoders and tokenizers back that `apply` took out.

    What was loaded into the text encoders since, LoRA or textual inversion, goes with them.

    Returns:
        The same pipeline.

    Raises:
        ValueError: if nothing was applied, or a LoRA was fused or unfused since, which is in the
            weights of the originals, too.
    """
    if not hasattr(pipeline, _STATE):
        raise UsageError(
            "there is nothing to undo: longclip.diffusion.apply was not called on this pipeline. "
            "(A pipeline that was saved, or made by from_pipe, knows no other encoders.)"
        )
    slots = text_slots(pipeline)
    with offloading_off(pipeline, slots):
        pipeline.register_modules(**_originals(pipeline, slots))
    delattr(pipeline, _STATE)
    del pipeline.encode_prompt
    return pipeline


def _sources(
    pipeline: Any, slots: tuple[Slot, ...], first: Source | None, second: Source | None
) -> dict[str, CLIP]:
    given = {"text_encoder": first, "text_encoder_2": second}
    there = [slot.name for slot in slots]
    for name, source in given.items():
        if source is not None and name not in there:
            kind = "SDXL" if is_xl(pipeline) else "SD"
            raise UsageError(
                f"this {kind} pipeline has no {name} to exchange; it has {' and '.join(there)}"
            )
    return {name: open_source(source) for name, source in given.items() if source is not None}


def _longer_tokenizer(tokenizer: Any, length: int) -> Any:
    longer = copy.deepcopy(tokenizer)
    longer.model_max_length = length
    # What mends a CLIPTokenizer's decoding in transformers 5 is put on when it is made, and lost
    # in a copy, which would leave the marks of words' ends in.
    mend = getattr(longer, "_wrap_decode_method_backend_tokenizer", None)
    if mend is not None:
        mend()
    return longer


def _originals(pipeline: Any, slots: tuple[Slot, ...]) -> dict[str, Any]:
    """What the pipeline had before anything was applied, with its encoders where they are now."""
    state: _Applied | None = getattr(pipeline, _STATE, None)
    if state is None:
        names = [name for slot in slots for name in (slot.name, slot.tokenizer)]
        return {name: getattr(pipeline, name) for name in names}
    for slot in slots:
        original, current = state.originals[slot.name], getattr(pipeline, slot.name)
        _check_fused(original, current)
        if (original.device, original.dtype) != (current.device, current.dtype):
            # Shared weights have moved with the pipeline; what is not shared has not.
            original.to(device=current.device, dtype=current.dtype)
    return dict(state.originals)


def _check_fused(original: Any, current: Any) -> None:
    shared = {parameter.data_ptr() for parameter in original.parameters()}
    before = fused_layers(original)
    for name in before ^ fused_layers(current):
        weights = current.get_submodule(name).get_base_layer().parameters()
        if any(parameter.data_ptr() in shared for parameter in weights):
            now, remedy = ("unfused", "fuse_lora") if name in before else ("fused", "unfuse_lora")
            raise UsageError(
                f"since longclip.diffusion.apply a LoRA was {now} in the text encoder, and its "
                f"weights are the original's, too; call pipeline.{remedy}() first"
            )


def _context_length(
    encoders: Mapping[str, Any], sources: Mapping[str, CLIP], wanted: int | None
) -> int:
    lengths = {
        name: sources[name].context_length if name in sources else positions(encoder)
        for name, encoder in encoders.items()
    }
    said = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if wanted is None:
        long = {length for length in lengths.values() if length > STOCK_LENGTH}
        if len(long) > 1:
            raise UsageError(
                f"all encoders of a pipeline must read the same number of tokens ({said}); say "
                "which with context_length=, at least the largest, and the others are stretched"
            )
        return long.pop() if long else CONTEXT_LENGTH
    if wanted < max(lengths.values()):
        raise UsageError(
            f"context_length {wanted} is less than the encoders already read ({said}); "
            "encoders are lengthened only"
        )
    return wanted
