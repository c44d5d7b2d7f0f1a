"""A pipeline by its name, ready to draw."""

from collections.abc import Sequence
from typing import Any

import torch

from longclip.diffusion.download import pipeline_directory, require_here
from longclip.diffusion.families import text_slots
from longclip.diffusion.libraries import quiet_libraries, require_libraries
from longclip.diffusion.pipeline_files import choose_local
from longclip.errors import UsageError

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
    require_libraries()
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
    try:
        return pipeline.to(device)
    except (AssertionError, RuntimeError) as error:  # torch asserts that it was built for a device
        raise UsageError(f"device {device!r} cannot be used: {error}") from error
