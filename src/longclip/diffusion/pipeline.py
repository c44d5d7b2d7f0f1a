"""A diffusers pipeline: opening it, its text encoders, and its offloading to the CPU.

A pipeline's family is read off its parts and not its class: text to image, image to image,
inpainting, ControlNet and the many others around one U-Net share their text path.

Accelerate's and diffusers' offloading replaces forward methods and keeps weights elsewhere, even
on no device at all. A module cannot be copied or exchanged under it, so offloading is taken off
while a pipeline's parts change.
"""

import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from longclip.diffusion.pipeline_files import choose_local, pipeline_directory, require_here
from longclip.errors import UsageError
from longclip.util.hardware import moving_to
from longclip.util.libraries import require_libraries

_SUPPORTED = "Stable Diffusion 1.x and 2.x, and SDXL (base and refiner)"

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
    """Return whether a pipeline reads its encoders as SDXL does.

    SDXL takes each encoder's second to last layer without the final LayerNorm, side by side, and
    the last encoder's pooled vector; SD takes the last layer with LayerNorm. SD 2 is no exception:
    its files leave the encoder's last layer out.
    """
    return hasattr(pipeline, SECOND.name)


def text_slots(pipeline: Any) -> tuple[Slot, ...]:
    """Return the text encoders that are there, in the order in which they are read.

    The SDXL refiner has only the second.

    Raises:
        UsageError: if the pipeline is of another kind (SD 3, Flux, PixArt …), or was loaded
            without its text encoders.
    """
    slots = (FIRST, SECOND) if is_xl(pipeline) else (FIRST,)
    encoders = {slot: getattr(pipeline, slot.name, None) for slot in slots}
    there = tuple(slot for slot, encoder in encoders.items() if encoder is not None)
    known = (
        hasattr(pipeline, "unet")
        and not hasattr(pipeline, "text_encoder_3")
        and all(
            getattr(getattr(encoders[slot], "config", None), "model_type", None) == _CLIP_TEXT
            for slot in there
        )
    )
    if known and hasattr(pipeline, "_encode_prompt") and not hasattr(pipeline, "encode_prompt"):
        raise UsageError(
            f"{type(pipeline).__name__} reads its prompts with CLIP, but inside its own call: it "
            "has no encode_prompt, which longclip puts longer prompts through. Of InstructPix2Pix, "
            "diffusers has a pipeline for SDXL (StableDiffusionXLInstructPix2PixPipeline) that does"
        )
    if not (known and hasattr(pipeline, "encode_prompt")):
        raise UsageError(
            f"{type(pipeline).__name__} does not read its prompts with CLIP alone, around a U-Net; "
            f"longclip.diffusion knows {_SUPPORTED}, with their image-to-image, inpainting and "
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


@contextmanager
def offloading_off(pipeline: Any, slots: tuple[Slot, ...]) -> Iterator[None]:
    """Take offloading off, and put it back on what is in the slots then, on the same device.

    Raises:
        UsageError: if the pipeline is spread over devices by a device map.
    """
    modules = [part for part in pipeline.components.values() if hasattr(part, "named_parameters")]
    hooked = [module for module in modules if hasattr(module, "_hf_hook")]
    if hooked and getattr(pipeline, "hf_device_map", None) is not None:
        raise UsageError(
            "this pipeline is spread over devices by its device_map; "
            "call pipeline.reset_device_map() first, and place it again afterwards"
        )
    whole_models = False
    if hooked:
        hooks: Any = importlib.import_module("accelerate.hooks")
        whole_models = any(isinstance(module._hf_hook, hooks.CpuOffload) for module in hooked)
        device = pipeline._execution_device
        pipeline.remove_all_hooks()
    groups = {slot.name: _take_group_offloading(getattr(pipeline, slot.name)) for slot in slots}
    try:
        yield
    finally:
        for name, config in groups.items():
            if config is not None:
                from diffusers.hooks import group_offloading

                group_offloading._apply_group_offloading(getattr(pipeline, name), config)
        if whole_models:
            pipeline.enable_model_cpu_offload(device=device)
        elif hooked:
            pipeline.enable_sequential_cpu_offload(device=device)


def _take_group_offloading(encoder: Any) -> Any:
    """Take group offloading off an encoder and return its settings; None where there is none."""
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


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep back progress bars and advice while something is imported or loaded."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    # Before diffusers is imported, which logs what it does without.
    logging.set_verbosity_error()
    logging_of_diffusers: Any = importlib.import_module("diffusers.utils.logging")
    logging.disable_progress_bar()
    logging_of_diffusers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # diffusers 0.35 does not know the option by its new name, `dtype`.
            warnings.filterwarnings("ignore", message=".*torch_dtype.*")
            yield
    finally:
        logging.set_verbosity(verbosity)
        logging_of_diffusers.enable_progress_bar()
        if shown:
            logging.enable_progress_bar()


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
        device: the one that the weights are moved to.
        encoders: models that will be put into it, as `longclip.load` takes them: one message names
            everything that is lacking on this machine.
        revision: branch, tag or commit of the pipeline on the hub.
        download: fetch what is not on this machine.

    Raises:
        UsageError: if weights are missing (`MissingWeightsError`, with what to fetch) or are
            pickled, the pipeline is of a kind that longclip does not know, or there is no such
            device.
    """
    require_libraries("diffusion")
    half = dtype in (torch.float16, torch.bfloat16)
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
