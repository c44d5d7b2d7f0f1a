"""Pictures of a prompt, by the text encoders that a pipeline came with and by long ones."""

import functools
import importlib.metadata
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from longclip import __version__
from longclip.diffusion.comparison import Side, side_by_side
from longclip.diffusion.conditioning import encode
from longclip.diffusion.config import GenerateConfig
from longclip.diffusion.patch import apply
from longclip.diffusion.pictures import caption, picture_paths, write_png
from longclip.diffusion.pipeline import open_pipeline, text_slots
from longclip.diffusion.prompt_view import windows_of
from longclip.diffusion.text_readers import TextReader, pipeline_readers
from longclip.diffusion.windows import PromptCut, quiet_about_cuts
from longclip.spec import SPECIAL_TOKENS, Overflow
from longclip.util.libraries import require_libraries
from longclip.util.terminal import SILENT, OnProgress


@dataclass(frozen=True)
class Written:
    """A picture on disk.

    Attributes:
        path: of the file.
        facts: everything it was made from, as its text chunk has it.
    """

    path: Path
    facts: dict[str, Any]


def generate(
    config: GenerateConfig,
    out: Path,
    *,
    compare: bool = False,
    overwrite: bool = False,
    download: bool = False,
    on_progress: OnProgress = SILENT,
) -> list[Written]:
    """Make pictures with long text encoders.

    Args:
        config: the prompt, the models and the settings.
        out: a .png file; with several pictures `-1`, `-2` … is added to its name.
        compare: draw each prompt with the original encoders, too, from the same noise, and put the
            two side by side, with the prompt and what was cut from it below.
        overwrite: replace files that are there.
        download: fetch weights that are not on this machine.
        on_progress: called after each denoising step.

    Raises:
        UsageError: if a library or a weight is missing (`MissingWeightsError`, with what to
            fetch), weights are pickled or do not fit, or a file is there already.
    """
    require_libraries("diffusion")
    paths = picture_paths(out, config.count, overwrite=overwrite)
    pipeline = open_pipeline(
        config.model,
        dtype=config.chosen_dtype,
        device=config.chosen_device,
        encoders=[name for name in (config.text_encoder, config.text_encoder_2) if name],
        revision=config.revision,
        download=download,
    )
    original_reader = pipeline_readers(pipeline)[0]
    originals: list[Image.Image] = []
    if compare:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromptCut)  # the picture shows what is cut
            originals = list(_draw(config, pipeline, "warn", "original encoder", on_progress))
    apply(pipeline, text_encoder=config.text_encoder, text_encoder_2=config.text_encoder_2)
    reader = pipeline_readers(pipeline)[0]
    written = []
    images = _draw(config, pipeline, config.overflow, "long encoder", on_progress)
    for number, image in enumerate(images):
        facts = _facts(config, pipeline, config.seed + number, image)
        if compare:
            left = _side(config, "Original encoder", originals[number], original_reader)
            right = _side(config, "Long encoder", image, reader, chunks=config.overflow == "chunk")
            windows = windows_of(config.prompt, reader, weights=config.weights)
            image = side_by_side(left, right, [window.text for window in windows], caption(facts))
            facts |= {"compared_with": "the original encoders, on the left"}
        write_png(paths[number], image, facts)
        written.append(Written(paths[number], facts))
    return written


def _draw(
    config: GenerateConfig,
    pipeline: Any,
    overflow: Overflow,
    stage: str,
    on_progress: OnProgress,
) -> Iterator[Image.Image]:
    """Yield one picture after the other, by a pipeline with the encoders that it has now.

    Warns:
        PromptCut: once, if the prompt is too long for its encoders and `overflow` is "warn".
    """
    guidance = _guidance(config, pipeline)
    with quiet_about_cuts():
        conditioning = encode(
            pipeline,
            config.prompt,
            negative_prompt=config.negative,
            guidance=guidance > 1,
            clip_skip=config.clip_skip,
            weights=config.weights,
            overflow=overflow,
        )
    size = {"width": config.width, "height": config.height}

    def report(stage: str, _: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_progress(stage, step + 1, config.steps)
        return tensors

    for number in range(config.count):
        of = f", picture {number + 1} of {config.count}" if config.count > 1 else ""
        on_progress(stage + of, 0, config.steps)
        seed = config.seed + number
        result = pipeline(
            **conditioning.kwargs,
            **{name: value for name, value in size.items() if value is not None},
            num_inference_steps=config.steps,
            guidance_scale=guidance,
            # On the CPU, whose noise is the same whatever device draws.
            generator=torch.Generator("cpu").manual_seed(seed),
            callback_on_step_end=functools.partial(report, stage + of),
        )
        if any(getattr(result, "nsfw_content_detected", None) or ()):
            warnings.warn(
                f"the pipeline's safety checker has made the picture of seed {seed} black",
                stacklevel=2,
            )
        yield result.images[0]


def _facts(config: GenerateConfig, pipeline: Any, seed: int, image: Image.Image) -> dict[str, Any]:
    """Return everything that a picture was made from."""
    names = [slot.name for slot in text_slots(pipeline)]
    return {
        "prompt": config.prompt,
        "negative": config.negative or "",
        "model": _public_name(config.model),
        "revision": config.revision,
        "pipeline": type(pipeline).__name__,
        "text_encoders": {
            name: _public_name(getattr(config, name) or "its own, stretched") for name in names
        },
        "context_length": pipeline_readers(pipeline)[0].context_length,
        "seed": seed,
        "steps": config.steps,
        "guidance": _guidance(config, pipeline),
        "width": image.width,
        "height": image.height,
        "scheduler": type(pipeline.scheduler).__name__.removesuffix("Scheduler"),
        "clip_skip": config.clip_skip,
        "weights": config.weights,
        "overflow": config.overflow,
        "dtype": str(config.chosen_dtype).removeprefix("torch."),
        "device": config.chosen_device,
        "versions": {
            "longclip": __version__,
            "diffusers": importlib.metadata.version("diffusers"),
            "transformers": importlib.metadata.version("transformers"),
            "torch": str(torch.__version__),
        },
    }


def _public_name(name: str) -> str:
    """Return a model's name without the path to it: pictures are passed on, paths are private."""
    return Path(name).resolve().name if Path(name).exists() else name


def _guidance(config: GenerateConfig, pipeline: Any) -> float:
    """Return the guidance scale, which is the pipeline's own default where none is given."""
    if config.guidance is not None:
        return config.guidance
    return float(inspect.signature(pipeline.__call__).parameters["guidance_scale"].default)


def _side(
    config: GenerateConfig,
    name: str,
    image: Image.Image,
    reader: TextReader,
    *,
    chunks: bool = False,
) -> Side:
    """Return a picture with how much of the prompt was read for it."""
    windows = windows_of(config.prompt, reader, weights=config.weights)
    counts = [len(window.ids) for window in windows]
    limit = max(counts) if chunks else reader.context_length - SPECIAL_TOKENS
    return Side(
        title=f"{name}, {reader.context_length} tokens",
        image=image,
        tokens=sum(counts),
        tokens_read=sum(min(count, limit) for count in counts),
        read_to=tuple(window.cut_at(limit + SPECIAL_TOKENS) for window in windows),
    )
