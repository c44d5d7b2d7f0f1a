"""From a prompt to pictures: with the encoders a pipeline came with, and with long ones."""

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
from longclip.diffusion.conditioning import Conditioning, encode
from longclip.diffusion.config import GenerateConfig
from longclip.diffusion.patch import apply
from longclip.diffusion.pictures import write_png
from longclip.diffusion.pipeline import open_pipeline, text_slots
from longclip.diffusion.prompt_view import Reader, windows_of
from longclip.diffusion.text_readers import pipeline_readers
from longclip.diffusion.windows import PromptCut, quiet_about_cuts
from longclip.errors import UsageError
from longclip.spec import Overflow
from longclip.util.files import check_writable
from longclip.util.progress import SILENT, OnProgress


@dataclass(frozen=True)
class Written:
    """A picture on disk.

    Attributes:
        path: where.
        facts: what its text chunk says.
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
        config: what.
        out: a .png file; with several pictures `-1`, `-2` … is added to its name.
        compare: draw each prompt with the original encoders, too, from the same noise, and put the
            two side by side, with the prompt and what was cut from it below.
        overwrite: replace files that are there.
        download: fetch weights that are not on this machine.
        on_progress: told of each denoising step.

    Raises:
        ValueError: if weights are missing (`MissingWeightsError`, with what to fetch), are
            pickled, or do not fit; or if a file is there already.
    """
    paths = _paths(out, config.count, overwrite=overwrite)
    pipeline = open_pipeline(
        config.model,
        dtype=config.chosen_dtype,
        device=config.chosen_device,
        encoders=[name for name in (config.text_encoder, config.text_encoder_2) if name],
        revision=config.revision,
        download=download,
    )
    originals = []
    original_reader = pipeline_readers(pipeline)[0]
    if compare:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromptCut)  # the picture says it
            originals = list(draw(config, pipeline, "warn", "original encoder", on_progress))
    apply(pipeline, text_encoder=config.text_encoder, text_encoder_2=config.text_encoder_2)
    reader = pipeline_readers(pipeline)[0]
    written = []
    for number, image in enumerate(
        draw(config, pipeline, config.overflow, "long encoder", on_progress)
    ):
        facts = facts_of(config, pipeline, config.seed + number, image)
        if compare:
            left = _side(config, "Original encoder", originals[number], original_reader)
            right = _side(config, "Long encoder", image, reader, chunks=config.overflow == "chunk")
            windows = windows_of(config.prompt, reader, weights=config.weights)
            texts = [window.text for window in windows]
            image = side_by_side(left, right, texts, _footer(facts))
            facts |= {"compared_with": "the original encoders, on the left"}
        write_png(paths[number], image, facts)
        written.append(Written(paths[number], facts))
    return written


def draw(
    config: GenerateConfig,
    pipeline: Any,
    overflow: Overflow,
    stage: str,
    on_progress: OnProgress,
) -> Iterator[Image.Image]:
    """One picture after the other, by a pipeline as it is now.

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
    for number in range(config.count):
        of = f", picture {number + 1} of {config.count}" if config.count > 1 else ""
        yield _one(config, pipeline, conditioning, config.seed + number, stage + of, on_progress)


def _one(
    config: GenerateConfig,
    pipeline: Any,
    conditioning: Conditioning,
    seed: int,
    stage: str,
    on_progress: OnProgress,
) -> Image.Image:
    def on_step(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
        on_progress(stage, step + 1, config.steps)
        return values

    on_progress(stage, 0, config.steps)
    size = {"width": config.width, "height": config.height}
    result = pipeline(
        **conditioning.kwargs,
        **{name: value for name, value in size.items() if value is not None},
        num_inference_steps=config.steps,
        guidance_scale=_guidance(config, pipeline),
        generator=torch.Generator("cpu").manual_seed(seed),
        callback_on_step_end=on_step,
    )
    if any(getattr(result, "nsfw_content_detected", None) or ()):
        warnings.warn(
            f"the pipeline's safety checker has made the picture of seed {seed} black",
            stacklevel=2,
        )
    image: Image.Image = result.images[0]
    return image


def facts_of(
    config: GenerateConfig, pipeline: Any, seed: int, image: Image.Image
) -> dict[str, Any]:
    """Everything that a picture was made from."""
    names = [slot.name for slot in text_slots(pipeline)]
    return {
        "prompt": config.prompt,
        "negative": config.negative or "",
        "model": _shown(config.model),
        "revision": config.revision,
        "pipeline": type(pipeline).__name__,
        "text_encoders": {
            name: _shown(getattr(config, name) or "its own, stretched") for name in names
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


def _shown(name: str) -> str:
    """A model's name as pictures show it: they are passed on, and paths are nobody's business."""
    return Path(name).resolve().name if Path(name).exists() else name


def _guidance(config: GenerateConfig, pipeline: Any) -> float:
    if config.guidance is not None:
        return config.guidance
    return float(inspect.signature(pipeline.__call__).parameters["guidance_scale"].default)


def _side(
    config: GenerateConfig, name: str, image: Image.Image, reader: Reader, *, chunks: bool = False
) -> Side:
    """A picture, and how much of the prompt was read for it."""
    windows = windows_of(config.prompt, reader, weights=config.weights)
    counts = [len(window.ids) for window in windows]
    room = max(counts) if chunks else reader.context_length - 2
    return Side(
        title=f"{name}, {reader.context_length} tokens",
        image=image,
        tokens=sum(counts),
        tokens_read=sum(min(count, room) for count in counts),
        read_to=tuple(window.cut_at(room + 2) for window in windows),
    )


def _footer(facts: dict[str, Any]) -> str:
    parts = [
        facts["model"],
        *(f"{name}: {source}" for name, source in facts["text_encoders"].items()),
        f"seed {facts['seed']}, {facts['steps']} steps, guidance {facts['guidance']:g}",
    ]
    if facts["negative"]:
        parts.append(f"negative: {facts['negative']}")
    return " · ".join(parts)


def _paths(out: Path, count: int, *, overwrite: bool) -> list[Path]:
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: name a file that ends in .png")
    numbered = [out.with_stem(f"{out.stem}-{number}") for number in range(1, count + 1)]
    paths = [out] if count == 1 else numbered
    for path in paths:
        check_writable(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{path} is there already; name another file or add --overwrite")
    return paths
