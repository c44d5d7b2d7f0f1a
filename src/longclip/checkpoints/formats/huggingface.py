"""The Hugging Face directory layout: config.json and safetensors, whole or in shards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip._files import write_text
from longclip.checkpoints.formats.safetensors import read_safetensors
from longclip.checkpoints.formats.torchscript import read_torch_file
from longclip.errors import CheckpointError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
VARIANTS = "model.*.safetensors"
"""Diffusion pipelines may hold model.fp16.safetensors alone."""


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object.

    Raises:
        CheckpointError: if the file is missing, is not JSON, or is not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: a model directory holds {CONFIG} and {WEIGHTS}"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}, expected a JSON object")
    return values


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The files that hold the weights of a model directory: one, its shards, or one variant.

    Raises:
        CheckpointError: if there are none, there are variants to choose from, or the index leads
            outside.
    """
    for name in (WEIGHTS, PICKLED):
        if (directory / name).is_file():
            return (directory / name,)
        if (directory / f"{name}.index.json").is_file():
            return _shards(directory / f"{name}.index.json")
    variants = sorted(directory.glob(VARIANTS))
    if len(variants) > 1:
        names = ", ".join(file.name for file in variants)
        raise CheckpointError(f"{directory} holds several variants ({names}); name one of them")
    if not variants:
        raise CheckpointError(
            f"{directory} has neither {WEIGHTS} nor {INDEX}; "
            "save the model with safe serialization (safetensors)"
        )
    return (variants[0],)


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of a model directory, memory-mapped, on the CPU.

    Raises:
        CheckpointError: as `weight_files`, and if a file is truncated or missing, or holds
            anything but tensors.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(directory):
        if file.suffix == ".safetensors":
            tensors |= read_safetensors(file)
        else:
            values = read_torch_file(file)
            tensors |= {n: value for n, value in values.items() if isinstance(value, Tensor)}
    return tensors


def has_weights(directory: Path) -> bool:
    """Whether a directory has weights in this layout."""
    names = (WEIGHTS, INDEX, PICKLED, f"{PICKLED}.index.json")
    return any((directory / name).is_file() for name in names)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write one JSON object, for people to read."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _shards(index: Path) -> tuple[Path, ...]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, Mapping):
        raise CheckpointError(f"{index} has no 'weight_map' of tensors to files; fetch it again")
    names = sorted(set(map(str, weight_map.values())))
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name in names:
        if not name.endswith(suffix) or Path(name).name != name:
            raise CheckpointError(
                f"{index} names the shard {name!r}, which is not a plain {suffix} file beside "
                "it; such an index is refused"
            )
    return tuple(index.parent / name for name in names)


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
