"""Checkpoints out, in the layout of every program that loads CLIPs."""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from longclip._files import atomic_directory, atomic_path
from longclip.checkpoints import huggingface as hf
from longclip.checkpoints import openai, openclip
from longclip.checkpoints.checkpoint import Checkpoint
from longclip.checkpoints.errors import CheckpointError
from longclip.inputs import write_tokenizer_files

Target = Literal["hf", "hf-text", "openai", "openclip", "comfyui"]

SHARD_BYTES = 5_000_000_000
"""The size at which transformers too begins another file."""

README = "README.md"
_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
}
_OPENAI_HEAD_WIDTH = 64


def write_checkpoint(
    checkpoint: Checkpoint,
    destination: str | Path,
    target: Target,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    card: str | None = None,
) -> None:
    """Write a checkpoint in another layout; whole or not at all.

    No number is touched unless `dtype` asks for it, and tensors are read from the source one after
    another as they are written.

    Args:
        checkpoint: what `open_checkpoint` read.
        destination: a directory for hf, hf-text and openclip, a file for openai and comfyui.
        target: hf: a CLIPModel, or the lone tower that the source is. hf-text: its text tower as
            CLIPTextModelWithProjection. openai: a state dict that OpenAI's code loads. openclip:
            a directory for `local-dir:`. comfyui: one safetensors file with the text tower.
        dtype: what weights are stored in; None keeps theirs.
        shard_bytes: how large a file of an hf directory becomes before another is begun.
        card: the README.md of a directory.

    Raises:
        CheckpointError: if the target has no place for something in the checkpoint.
        FileExistsError: if the destination is a directory that holds something else.
    """
    destination = Path(destination)
    _check(checkpoint, target)
    if target in ("hf", "hf-text"):
        tower = _text_tower(checkpoint) if target == "hf-text" else checkpoint
        write_huggingface(
            destination,
            tower.tensors,
            tower.config,
            tower.preprocess,
            dtype=dtype,
            shard_bytes=shard_bytes,
            card=card,
        )
    elif target == "openclip":
        _write_openclip(destination, checkpoint, dtype, card)
    elif target == "openai":
        _write_openai(destination, checkpoint, dtype)
    else:
        with atomic_path(destination) as new:
            write_safetensors(new, _text_tower(checkpoint).tensors, dtype)


def write_huggingface(
    directory: str | Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    preprocess: Mapping[str, Any] | None,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    card: str | None = None,
) -> None:
    """A model directory, with the tokenizer's files where there is a text tower."""
    stored = dtype or next(iter(tensors.values())).dtype
    text = config if "max_position_embeddings" in config else config.get("text_config")
    # Not config.json: a training run has one as well.
    with atomic_directory(directory, marker=(hf.WEIGHTS, hf.INDEX)) as new:
        _write_shards(new, tensors, dtype, shard_bytes)
        hf.write_json(new / hf.CONFIG, {**config, "dtype": hf.dtype_name(stored)})
        if preprocess is not None:
            hf.write_json(new / hf.PREPROCESSOR, preprocess)
        if text:
            write_tokenizer_files(new, int(text["max_position_embeddings"]))
        if card:
            (new / README).write_text(card, encoding="utf-8")


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """One safetensors file, tensor by tensor: what is not in memory yet need not be at once."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        stored = _stored_as(tensor, dtype)
        begin, end = end, end + tensor.numel() * stored.itemsize
        shape = list(tensor.shape)
        header[name] = {"dtype": _DTYPES[stored], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            stored = _stored_as(tensor, dtype)
            flat = tensor.detach().to("cpu", stored).contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def _stored_as(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype or tensor.dtype


def _write_shards(
    directory: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, shard_bytes: int
) -> None:
    shards = list(_shards(tensors, dtype, shard_bytes))
    if len(shards) == 1:
        write_safetensors(directory / hf.WEIGHTS, shards[0], dtype)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(directory / name, shard, dtype)
        weight_map |= dict.fromkeys(shard, name)
    size = sum(t.numel() * _stored_as(t, dtype).itemsize for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    hf.write_json(directory / hf.INDEX, index)


def _shards(
    tensors: Mapping[str, Tensor], dtype: torch.dtype | None, shard_bytes: int
) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        more = tensor.numel() * _stored_as(tensor, dtype).itemsize
        if shard and size + more > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += more
    yield shard


def _write_openai(path: Path, checkpoint: Checkpoint, dtype: torch.dtype | None) -> None:
    text, vision = checkpoint.config["text_config"], checkpoint.config["vision_config"]
    tensors = {
        name: tensor.to(dtype or tensor.dtype).contiguous()
        for name, tensor in openai.from_huggingface(checkpoint.tensors).items()
    }
    entries = {
        "input_resolution": torch.tensor(vision["image_size"]),
        "context_length": torch.tensor(text["max_position_embeddings"]),
        "vocab_size": torch.tensor(text["vocab_size"]),
    }
    with atomic_path(path) as new:
        torch.save(tensors | entries, new)


def _write_openclip(
    directory: Path, checkpoint: Checkpoint, dtype: torch.dtype | None, card: str | None
) -> None:
    tensors = openai.from_huggingface(checkpoint.tensors)
    with atomic_directory(directory, marker=(openclip.WEIGHTS,)) as new:
        write_safetensors(new / openclip.WEIGHTS, tensors, dtype)
        hf.write_json(
            new / openclip.CONFIG,
            openclip.write_config(checkpoint.config, checkpoint.preprocess or {}),
        )
        if card:
            (new / README).write_text(card, encoding="utf-8")


def _text_tower(checkpoint: Checkpoint) -> Checkpoint:
    """The text side alone, as a CLIPTextModelWithProjection."""
    config = checkpoint.config
    if "text_config" not in config:
        return checkpoint
    text = {key: value for key, value in config["text_config"].items() if key != "architectures"}
    alone = {
        **text,
        "architectures": ["CLIPTextModelWithProjection"],
        "model_type": "clip_text_model",
        "projection_dim": config["projection_dim"],
        "max_length": text["max_position_embeddings"],
    }
    kept = {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(("text_model.", "text_projection."))
    }
    return Checkpoint(checkpoint.path, checkpoint.format, alone, kept)


def _check(checkpoint: Checkpoint, target: Target) -> None:
    """Refuse what `target` cannot express.

    Raises:
        CheckpointError: with the reason and the nearest alternative.
    """
    config, source = checkpoint.config, checkpoint.path
    has_text = "text_model.final_layer_norm.weight" in checkpoint.tensors
    has_vision = "vision_model.post_layernorm.weight" in checkpoint.tensors
    if target in ("openai", "openclip") and not (has_text and has_vision):
        raise CheckpointError(
            f"{source} is one tower alone and {target} takes both; write it with --to hf"
        )
    if target in ("hf-text", "comfyui") and not has_text:
        raise CheckpointError(f"{source} has no text tower to write with --to {target}")
    if "text_projection.bias" in checkpoint.tensors:
        raise CheckpointError(
            f"{source} has a bias in its text projection (DeCLIP's has), for which a stock CLIP "
            "has no place: its texts would be embedded elsewhere. Use it from Python "
            "(longclip.load and longclip.save keep the bias)"
        )
    if target == "openai":
        _check_openai(source, config)


def _check_openai(source: Path, config: Mapping[str, Any]) -> None:
    for section in ("text_config", "vision_config"):
        tower = config[section]
        if tower.get("hidden_act", "quick_gelu") != "quick_gelu":
            raise CheckpointError(
                f"{source} computes {tower['hidden_act']} and OpenAI's code knows quick_gelu "
                "alone; write it with --to openclip"
            )
        width, heads = tower["hidden_size"], tower["num_attention_heads"]
        if width != heads * _OPENAI_HEAD_WIDTH:
            raise CheckpointError(
                f"{source} has {heads} heads in {width} channels ({section}) and OpenAI's code "
                f"takes heads {_OPENAI_HEAD_WIDTH} wide; write it with --to openclip"
            )
