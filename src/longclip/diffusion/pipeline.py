"""A diffusers pipeline: opening it, its text encoders, and its offloading to the CPU.

A pipeline's family is read off its parts and not its class: text to image, image to image,
inpainting, ControlNet and the many others around one U-Net share their text path.

Accelerate's and diffusers' offloading replaces forward methods and keeps weights elsewhere, even
on no device at all. A module cannot be copied or exchanged under it, so offloading is taken off
while a pipeline's parts change.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from longclip.diffusion.libraries import quiet_libraries
from longclip.diffusion.pipeline_files import choose_local, pipeline_directory, require_here
from longclip.errors import UsageError
from longclip.util.hardware import moving_to
from longclip.util.libraries import require_libraries

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


@contextmanager
def offloading_off(pipeline: Any, slots: tuple[Slot, ...]) -> Iterator[None]:
    """Takes offloading off and puts it back on what is in the slots then, on the same device.

    Raises:
        ValueError: if the pipeline is spread over devices by a device map.
    """
    hooked = [part for part in _modules(pipeline) if hasattr(part, "_hf_hook")]
    if hooked and getattr(pipeline, "hf_device_map", None) is not None:
        raise UsageError(
            "this pipeline is spread over devices by its device_map; "
            "call pipeline.reset_device_map() first, and place it again afterwards"
        )
    whole = any(_moves_whole_models(part._hf_hook) for part in hooked)
    if hooked:
        device = pipeline._execution_device
        pipeline.remove_all_hooks()
    groups = {slot.name: _take_group_offloading(getattr(pipeline, slot.name)) for slot in slots}
    try:
        yield
    finally:
        for name, config in groups.items():
            if config is not None:
                _group_offload(getattr(pipeline, name), config)
        if whole:
            pipeline.enable_model_cpu_offload(device=device)
        elif hooked:
            pipeline.enable_sequential_cpu_offload(device=device)


def _modules(pipeline: Any) -> list[Any]:
    return [part for part in pipeline.components.values() if hasattr(part, "named_parameters")]


def _moves_whole_models(hook: Any) -> bool:
    hooks: Any = importlib.import_module("accelerate.hooks")
    return isinstance(hook, hooks.CpuOffload)


def _take_group_offloading(encoder: Any) -> Any:
    """The settings of an encoder's group offloading, which it then has no more; None without."""
    try:
        from diffusers.hooks import group_offloading as group
        from diffusers.hooks.hooks import HookRegistry
    except ImportError:  # diffusers before 0.33 has none
        return None
    hook = group._get_top_level_group_offload_hook(encoder)
    if hook is None:
        return None
    registry = HookRegistry.check_if_exists_or_initialize(encoder)
    for name in (
        group._GROUP_OFFLOADING,
        group._LAYER_EXECUTION_TRACKER,
        group._LAZY_PREFETCH_GROUP_OFFLOADING,
    ):
        registry.remove_hook(name, recurse=True)
    return hook.config


def _group_offload(encoder: Any, config: Any) -> None:
    from diffusers.hooks import group_offloading as group

    group._apply_group_offloading(encoder, config)


_HALF = (torch.float16, torch.bfloat16)


def open_pipeline(
    model: str,
    *,
    dtype: torch.dtype,
    device: str,
    encoders: Sequence[str] = (),
    revision: str | None = None,
    download: bool = False,
) -> Any:
    """Open a text-to-image pipeline of diffusers.

    Args:
        model: a directory or a hub id.
        dtype: of the weights. For one of two bytes the smaller float16 files are taken where there
            are some.
        device: where they go.
        encoders: models that will be put into it, as `longclip.load` takes them: what is lacking
            on this machine is said for all at once.
        revision: branch, tag or commit of the pipeline on the hub.
        download: fetch what is not on this machine.

    Raises:
        ValueError: if weights are missing (`MissingWeightsError`, with what to fetch) or are
            pickled, the pipeline is of a kind that longclip does not know, or there is no such
            device.
    """
    require_libraries("diffusion")
    half = dtype in _HALF
    require_here(
        pipelines=[model], encoders=encoders, half=half, revision=revision, download=download
    )
    directory = pipeline_directory(model, revision)
    with quiet_libraries():
        from diffusers import AutoPipelineForText2Image

        load: Any = AutoPipelineForText2Image.from_pretrained
        pipeline = load(
            directory,
            torch_dtype=dtype,
            variant=choose_local(directory, half=half).variant,
            use_safetensors=True,
            local_files_only=True,
        )
    text_slots(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    with moving_to(device):
        return pipeline.to(device)
