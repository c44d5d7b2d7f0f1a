"""Which text encoders a diffusers pipeline has, and how it reads them.

Told by a pipeline's parts and not by its class: text to image, image to image, inpainting,
ControlNet and the many others around one U-Net share their text path.
"""

from dataclasses import dataclass
from typing import Any

from longclip.errors import UsageError

SUPPORTED = "Stable Diffusion 1.x and 2.x, and SDXL (base and refiner)"

# The text towers that a CLIP can stand in for; T5, ChatGLM and others are something else.
_CLIP_TEXT = "clip_text_model"


@dataclass(frozen=True)
class Slot:
    """A place for a text encoder in a pipeline.

    Attributes:
        name: the pipeline's attribute, "text_encoder" or "text_encoder_2".
        tokenizer: the attribute of the tokenizer that belongs to it.
    """

    name: str
    tokenizer: str


FIRST = Slot("text_encoder", "tokenizer")
SECOND = Slot("text_encoder_2", "tokenizer_2")


def is_xl(pipeline: Any) -> bool:
    """Whether a pipeline reads its encoders as SDXL does.

    SDXL takes each encoder's second to last layer without the final LayerNorm, side by side, and
    the last encoder's pooled vector; SD takes the last layer with LayerNorm. SD 2 is no exception:
    its files leave the encoder's last layer out.
    """
    return hasattr(pipeline, SECOND.name)


def text_slots(pipeline: Any) -> tuple[Slot, ...]:
    """The text encoders that are there, in the order in which they are read.

    The SDXL refiner has only the second.

    Raises:
        ValueError: if the pipeline is of another kind (SD 3, Flux, PixArt …), or was loaded
            without its text encoders.
    """
    slots = (FIRST, SECOND) if is_xl(pipeline) else (FIRST,)
    encoders = {slot: getattr(pipeline, slot.name, None) for slot in slots}
    there = tuple(slot for slot, encoder in encoders.items() if encoder is not None)
    known = (
        hasattr(pipeline, "unet")
        and hasattr(pipeline, "encode_prompt")
        and not hasattr(pipeline, "text_encoder_3")
        and all(_is_clip(encoders[slot]) for slot in there)
    )
    if not known:
        raise UsageError(
            f"{type(pipeline).__name__} does not read its prompts with CLIP alone, around a U-Net; "
            f"longclip.diffusion knows {SUPPORTED}, with their image-to-image, inpainting and "
            "ControlNet pipelines"
        )
    # The last encoder is the one that every family needs; SDXL's first is missing in the refiner.
    if slots[-1] not in there:
        raise UsageError(
            f"this {type(pipeline).__name__} was loaded without its {slots[-1].name}; load the "
            f"pipeline with it (without {slots[-1].name}=None)"
        )
    for slot in there:
        if getattr(pipeline, slot.tokenizer, None) is None:
            raise UsageError(
                f"this {type(pipeline).__name__} has a {slot.name} and no {slot.tokenizer}; "
                "load the pipeline with both"
            )
    return there


def _is_clip(encoder: Any) -> bool:
    return getattr(getattr(encoder, "config", None), "model_type", None) == _CLIP_TEXT
