"""The Hugging Face directory layout: config.json and safetensors, whole or in shards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from longclip._files import write_text
from longclip.checkpoints.errors import CheckpointError
from longclip.checkpoints.torch_files import read_torch_file

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"


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


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of a model directory, memory-mapped, on the CPU.

    Raises:
        CheckpointError: if there are no safetensors, or a file is truncated or leads outside.
    """
    if (directory / WEIGHTS).is_file():
        return read_safetensors(directory / WEIGHTS)
    if (directory / INDEX).is_file():
        return {
            name: tensor
            for shard in _shards(directory / INDEX)
            for name, tensor in read_safetensors(shard).items()
        }
    if (directory / PICKLED).is_file():
        values = read_torch_file(directory / PICKLED)
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}
    raise CheckpointError(
        f"{directory} has neither {WEIGHTS} nor {INDEX}; "
        "save the model with safe serialization (safetensors)"
    )


def has_weights(directory: Path) -> bool:
    """Whether a directory has this layout, or the configuration of one whose weights are lost."""
    return any((directory / name).is_file() for name in (WEIGHTS, INDEX, PICKLED, CONFIG))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write one JSON object, for people to read."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one file, mapped into memory.

    Raises:
        CheckpointError: if it is missing or truncated.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing though the index names it") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); fetch or copy it again"
        ) from None


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, Mapping):
        raise CheckpointError(f"{index} has no 'weight_map' of tensors to files; fetch it again")
    names = set(map(str, weight_map.values()))
    for name in sorted(names):
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise CheckpointError(
                f"{index} names the shard {name!r}, which is not a plain .safetensors file beside "
                "it; such an index is refused"
            )
    return [index.parent / name for name in sorted(names)]


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
