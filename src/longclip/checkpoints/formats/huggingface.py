"""Hugging Face's layout: config.json and safetensors, whole or in shards, or a bare weight file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import infer_config, read_clip_config
from longclip.checkpoints.formats import metaclip_2, openclip, siglip
from longclip.checkpoints.formats.fg_clip import fold_long_path
from longclip.checkpoints.model_directory import (
    CLIP_TYPES,
    CONFIG,
    INDEX,
    PICKLED,
    VARIANTS,
    WEIGHTS,
    is_timms,
    read_files,
    shards,
    weight_files,
)
from longclip.checkpoints.tensor_files import read_safetensors
from longclip.checkpoints.torch_files import read_torch_file
from longclip.checkpoints.wrappings import unwrap
from longclip.errors import CheckpointError

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
            return has_config and has_weights and not is_timms(source.path / CONFIG)
        return has_config or has_weights
    return any(name.startswith(_TOWERS) for name in source.tensors)


def open(source: Source) -> Checkpoint:
    """Read a directory, or a file of weights with the configuration that lies beside it.

    Raises:
        CheckpointError: if something is missing or broken, or the caller names an activation where
            the configuration says its own.
    """
    path = source.path
    if path.is_dir():
        return _open_directory(source, weight_files(path))
    tensors = _without_position_ids(source.tensors)
    described = _config_beside(source)
    is_siglip = siglip.HEAD in tensors
    if described is not None:
        same_family = (described.get("model_type") == siglip.MODEL_TYPE) == is_siglip
        if _is_whole(path) or (is_siglip and same_family):
            return _open_directory(source, (path,))
    if is_siglip:
        raise CheckpointError(
            f"{path} has the weights of a SigLIP, which do not say how its texts are cleaned and "
            f"its pictures read; put its {CONFIG} beside them"
        )
    # A lone text tower is what ComfyUI reads, which takes the activation from the depth.
    lone = not any(name.startswith("vision_model.") for name in tensors)
    start = "text_model.encoder.layers."
    layers = {name.split(".")[3] for name in tensors if name.startswith(start)}
    is_clip_l = lone and 0 < len(layers) <= MAX_CLIP_L_LAYERS
    guess = "quick_gelu" if is_clip_l else source.usual_activation
    activation, assumed = source.settle_activation(guess)
    config = infer_config(path, tensors, activation)
    bare = Checkpoint(path, (path,), "Hugging Face", config, tensors, assumed=assumed)
    if described is None:
        return bare
    kind = described.get("model_type")
    fields = {**described, "model_type": metaclip_2.MODEL_TYPES.get(str(kind), kind)}

    return source.with_config(bare, CONFIG, fields, lambda: read_files(source.folder / CONFIG))


def open_shards(source: Source) -> Checkpoint:
    """Read the directory of an index of shards, by that index.

    Raises:
        CheckpointError: as `open`.
    """
    return _open_directory(source, shards(source.path))


def _open_directory(source: Source, files: tuple[Path, ...]) -> Checkpoint:
    """Read weights by the configuration of their directory."""
    folder = source.folder
    if (folder / CONFIG).is_file():
        source.refuse_activation()
    config, preprocess, tokenizer = read_files(folder / CONFIG)
    values = read_weights(files)
    notes: tuple[str, ...] = ()
    if config.get("layout") == siglip.LAYOUT:
        found = siglip.to_internal(_only_tensors(source.path, values))
    else:
        found, notes = unwrap(source.path, values)
        config, found, more = fold_long_path(source.path, config, found)
        notes += more
    return Checkpoint(
        source.path,
        files,
        "Hugging Face",
        config,
        _without_position_ids(found),
        preprocess,
        notes,
        config_file=folder / CONFIG,
        tokenizer=tokenizer,
    )


def _only_tensors(path: Path, values: Mapping[str, Any]) -> dict[str, Tensor]:
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name} is no tensor")
    return dict(values)


def _config_beside(source: Source) -> dict[str, Any] | None:
    """Return the config.json beside a file, if it is of a CLIP; training runs have one as well."""
    path = source.folder / CONFIG
    if not path.is_file():
        return None
    config = read_clip_config(path)
    kinds = {*CLIP_TYPES, siglip.MODEL_TYPE, *metaclip_2.MODEL_TYPES}
    return config if config.get("model_type") in kinds or "text_config" in config else None


def _is_whole(path: Path) -> bool:
    """Return whether a file has the name that a directory's weights have."""
    return path.name in (WEIGHTS, PICKLED) or path.match(VARIANTS)


def _without_position_ids(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the numbers 0, 1, 2 …, which older versions of transformers saved as tensors."""
    return {name: t for name, t in tensors.items() if not f".{name}".endswith(_POSITION_IDS)}


def read_weights(files: Iterable[Path]) -> dict[str, Any]:
    """Return what the weight files of a model directory hold, mapped into memory.

    Raises:
        CheckpointError: if a file is truncated or missing, or holds anything but tensors.
    """
    values: dict[str, Any] = {}
    for file in files:
        values |= read_safetensors(file) if file.suffix == ".safetensors" else read_torch_file(file)
    return values


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that config.json has for a dtype: `float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
