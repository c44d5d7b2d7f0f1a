"""What a layout has no place for is refused, with the reason and the nearest alternative."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from longclip.checkpoints.bias import BIAS
from longclip.checkpoints.checkpoint import Checkpoint
from longclip.errors import CheckpointError

Target = Literal["hf", "hf-text", "openai", "openclip", "comfyui"]

_SECTIONS = ("text_config", "vision_config")
# The code that reads bare weights takes every head to be as wide as in OpenAI's models.
_HEAD_WIDTH = 64


def refuse_what_is_lost(checkpoint: Checkpoint, target: Target) -> None:
    """Let only such checkpoints pass that mean the same in the other layout.

    Raises:
        CheckpointError: if `target` cannot express something in the checkpoint.
    """
    assert BIAS not in checkpoint.tensors, "fold_bias first"
    source, config = checkpoint.path, checkpoint.config
    whole = checkpoint.has("text") and checkpoint.has("image")
    if target in ("openai", "openclip") and not whole:
        raise CheckpointError(
            f"{source} is one tower alone and {target} takes both; write it with --to hf"
        )
    if target in ("hf-text", "comfyui") and not checkpoint.has("text"):
        raise CheckpointError(f"{source} has no text tower to write with --to {target}")
    if target == "openai":
        for section in _SECTIONS:
            _check_openai(source, section, config[section])
    elif target == "openclip":
        _check_openclip(source, config)
    elif target == "comfyui":
        _check_comfyui(source, config.get("text_config", config))


def _check_openai(source: Path, section: str, tower: Mapping[str, Any]) -> None:
    if _activation(tower) != "quick_gelu":
        raise CheckpointError(
            f"{source} computes {_activation(tower)} and OpenAI's code knows quick_gelu alone; "
            "write it with --to openclip"
        )
    _check_heads(source, section, tower, "OpenAI's code", "openclip")
    width, inner = tower["hidden_size"], tower["intermediate_size"]
    if inner != 4 * width:
        raise CheckpointError(
            f"{source} has layers {inner} wide inside for a width of {width} ({section}), and "
            "OpenAI's code takes four times the width; write it with --to openclip"
        )


def _check_openclip(source: Path, config: Mapping[str, Any]) -> None:
    if len({_activation(config[section]) for section in _SECTIONS}) > 1:
        raise CheckpointError(
            f"{source} has quick_gelu in one tower and gelu in the other, and OpenCLIP one for "
            "both; write it with --to hf"
        )


def _check_comfyui(source: Path, tower: Mapping[str, Any]) -> None:
    """ComfyUI takes the kind of a text tower from its depth, and the activation from the kind."""
    layers = tower["num_hidden_layers"]
    kind = "CLIP-G" if layers > 30 else "CLIP-H" if layers > 22 else "CLIP-L"
    expected = "quick_gelu" if kind == "CLIP-L" else "gelu"
    if _activation(tower) != expected:
        raise CheckpointError(
            f"{source} computes {_activation(tower)}, and ComfyUI takes {layers} layers for a "
            f"{kind}, which computes {expected}; write it with --to hf-text for programs that "
            "read config.json"
        )
    _check_heads(source, "text_config", tower, "ComfyUI", "hf-text")


def _check_heads(
    source: Path, section: str, tower: Mapping[str, Any], program: str, alternative: str
) -> None:
    width, heads = tower["hidden_size"], tower["num_attention_heads"]
    if width != heads * _HEAD_WIDTH:
        raise CheckpointError(
            f"{source} has {heads} heads in {width} channels ({section}) and {program} takes heads "
            f"{_HEAD_WIDTH} wide; write it with --to {alternative}"
        )


def _activation(tower: Mapping[str, Any]) -> str:
    return str(tower.get("hidden_act", "quick_gelu"))
