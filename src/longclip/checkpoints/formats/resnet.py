"""CLIPs with a ResNet that are bare weights: OpenAI's RN50 … RN50x64, and those of OpenCLIP.

The text tower is CLIP's. The image tower (He et al., 2016, with three convolutions at its begin and
attention at its end) is computed by OpenCLIP, so they are read as a directory of its layout, with a
configuration that is inferred from shapes.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import HEAD_WIDTH
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.tensor_files import NUMBERS
from longclip.errors import CheckpointError, UsageError
from longclip.image.preprocess import OPENAI_MEAN, OPENAI_STD

_STRIDE = 32
"""Pixels to a place of the grid that a ResNet ends in."""

_BLOCK = re.compile(r"visual\.layer([1-4])\.(\d+)\.")
_TEXT_BLOCK = re.compile(r"(?:text\.)?transformer\.resblocks\.(\d+)\.")


def recognise(source: Source) -> bool:
    """Return whether it is a file with a ResNet's blocks and no configuration beside it."""
    if not any(name.startswith("visual.layer1.") for name in source.tensors):
        return False
    # OpenAI's archives say all there is to say.
    return not NUMBERS.isdisjoint(source.tensors) or not (source.folder / openclip.CONFIG).is_file()


def open(source: Source) -> Checkpoint:
    """Read an archive or a state dict.

    Raises:
        CheckpointError: if a tensor that decides the shape is missing or has a strange shape, or
            one is of no such CLIP.
    """
    path, tensors, assumed = source.path, source.tensors, ""
    activation = source.activation or "quick_gelu"
    if NUMBERS.isdisjoint(tensors):
        activation, assumed = source.settle_activation(source.usual_activation)
    if activation not in ("quick_gelu", "gelu"):
        raise CheckpointError(f"{path}: OpenCLIP knows no {activation}; take quick_gelu or gelu")
    content = _describe(source, tensors, quick_gelu=activation == "quick_gelu")
    try:
        config = openclip.describe(content)
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from None
    found = openclip.to_internal(path, tensors, config)
    name = "OpenCLIP" if NUMBERS.isdisjoint(tensors) else "OpenAI"
    return Checkpoint(path, (path,), name, config, found, assumed=assumed)


def _describe(source: Source, tensors: Mapping[str, Tensor], *, quick_gelu: bool) -> dict[str, Any]:
    """Return the open_clip_config.json of weights, by their shapes."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        tensor = tensors.get(name, tensors.get(f"text.{name}"))
        if tensor is None or tensor.ndim != dimensions:
            has = "there is no" if tensor is None else f"{list(tensor.shape)} is a strange shape of"
            raise CheckpointError(
                f"{source.path}: {has} {name}, so no CLIP with a ResNet can be made"
            )
        return tuple(tensor.shape)

    blocks = {(int(m[1]), int(m[2])) for m in map(_BLOCK.match, tensors) if m}
    layers = [sum(stage == number for stage, _ in blocks) for number in range(1, 5)]
    width = shape("visual.layer1.0.conv1.weight", 4)[0]
    places, _ = shape("visual.attnpool.positional_embedding", 2)
    grid = isqrt(max(0, places - 1))
    if grid**2 + 1 != places:
        raise CheckpointError(
            f"{source.path}: its image tower has {places} positions, which is not a square grid "
            "and one more"
        )
    context, text_width = shape("positional_embedding", 2)
    projection = "text_projection.weight" if "text.text_projection.weight" in tensors else ""
    joint = shape(projection, 2)[0] if projection else shape("text_projection", 2)[1]
    text = {
        "context_length": context,
        "vocab_size": shape("token_embedding.weight", 2)[0],
        "width": text_width,
        "heads": max(1, text_width // HEAD_WIDTH),
        "layers": len({m[1] for m in map(_TEXT_BLOCK.match, tensors) if m}),
    }
    custom = any(name.startswith("text.") for name in tensors)
    return {
        "model_cfg": {
            "embed_dim": joint,
            "quick_gelu": quick_gelu,
            **({"custom_text": True} if custom else {}),
            "vision_cfg": {
                "image_size": grid * _STRIDE,
                "layers": layers,
                "width": width,
                "patch_size": None,
            },
            "text_cfg": text,
        },
        "preprocess_cfg": {
            "mean": list(OPENAI_MEAN),
            "std": list(OPENAI_STD),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
