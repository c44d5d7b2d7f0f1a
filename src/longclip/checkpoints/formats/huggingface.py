"""Hugging Face's layout: config.json and safetensors, whole or in shards, or a bare weight file."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import infer_config, read_json
from longclip.checkpoints.formats import openclip
from longclip.checkpoints.tensor_files import read_safetensors
from longclip.checkpoints.torch_files import read_torch_file
from longclip.errors import CheckpointError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
_VARIANTS = "model.*.safetensors"
"""Diffusion pipelines may hold model.fp16.safetensors alone."""

MAX_CLIP_L_LAYERS = 22
"""Layers beyond which ComfyUI takes a text tower for CLIP-H or CLIP-G, which compute GELU."""

_TOWERS = ("text_model.", "vision_model.")
_POSITION_IDS = ".embeddings.position_ids"


def recognise(source: Source) -> bool:
    """Return whether it is a directory in this layout, or a file with these names of tensors."""
    if source.path.is_dir():
        has_config = source.has_file(CONFIG)
        has_weights = source.has_file(WEIGHTS, INDEX, PICKLED, f"{PICKLED}.index.json")
        # The hub's cache holds both layouts of a model where two programs have asked for it.
        if source.has_file(openclip.CONFIG):
            return has_config and has_weights
        return has_config or has_weights
    return any(name.startswith(_TOWERS) for name in source.tensors)


def open(source: Source) -> Checkpoint:
    """Read a directory, or a file of bare weights.

    Raises:
        CheckpointError: if something is missing or broken, or the caller names an activation for a
            directory that says its own.
    """
    path = source.path
    if not path.is_dir():
        tensors = _without_position_ids(source.tensors)
        # A lone text tower is what ComfyUI reads, which takes the activation from the depth.
        lone = not any(name.startswith("vision_model.") for name in tensors)
        start = "text_model.encoder.layers."
        layers = {name.split(".")[3] for name in tensors if name.startswith(start)}
        is_clip_l = lone and 0 < len(layers) <= MAX_CLIP_L_LAYERS
        guess = "quick_gelu" if is_clip_l else source.usual_activation
        activation, notes = source.settle_activation(guess)
        config = infer_config(path, tensors, activation)
        return Checkpoint(path, (path,), "Hugging Face", config, tensors, notes=notes)
    if source.has_file(CONFIG):
        source.refuse_activation()
    config = read_json(path / CONFIG)
    tensors = _without_position_ids(read_weights(path))
    kind = config.get("model_type")
    if kind in ("clip_text_model", "clip_vision_model"):
        prefix = f"{kind.split('_')[1]}_model."
        if not any(name.startswith(prefix) for name in tensors):
            # transformers 5 leaves the prefix out of lone towers, 4 looks for it.
            tensors = {
                name if "projection." in name and "encoder." not in name else prefix + name: tensor
                for name, tensor in tensors.items()
            }
    preprocess = read_json(path / PREPROCESSOR) if source.has_file(PREPROCESSOR) else None
    return Checkpoint(path, weight_files(path), "Hugging Face", config, tensors, preprocess)


def _without_position_ids(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the numbers 0, 1, 2 …, which older versions of transformers saved as tensors."""
    return {name: t for name, t in tensors.items() if not f".{name}".endswith(_POSITION_IDS)}


def weight_files(directory: Path) -> tuple[Path, ...]:
    """Return the files with the weights of a model directory: one, its shards, or one variant.

    Raises:
        CheckpointError: if there are none, there are variants to choose from, or the index leads
            outside.
    """
    for name in (WEIGHTS, PICKLED):
        if (directory / name).is_file():
            return (directory / name,)
        if (directory / f"{name}.index.json").is_file():
            return _shards(directory / f"{name}.index.json")
    variants = sorted(directory.glob(_VARIANTS))
    if len(variants) > 1:
        names = ", ".join(file.name for file in variants)
        raise CheckpointError(f"{directory} holds several variants ({names}); name one of them")
    if not variants:
        raise CheckpointError(
            f"{directory} has neither {WEIGHTS} nor {INDEX}; "
            "save the model with safe serialization (safetensors)"
        )
    return (variants[0],)


def _shards(index: Path) -> tuple[Path, ...]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, Mapping):
        raise CheckpointError(f"{index} has no 'weight_map' of tensors to files; fetch it again")
    names = sorted(set(map(str, weight_map.values())))
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name in names:
        # An index comes from strangers: without this it could name any file of the machine.
        if not name.endswith(suffix) or Path(name).name != name:
            raise CheckpointError(
                f"{index} names the shard {name!r}, which is not a plain {suffix} file beside "
                "it; such an index is refused"
            )
    return tuple(index.parent / name for name in names)


def read_weights(directory: Path) -> dict[str, Tensor]:
    """Return all tensors of a model directory, on the CPU and mapped into memory.

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


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that config.json has for a dtype: `float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
