"""What sentence-transformers wants beside a model's own files: which modules make its embedding.

Without them it takes a lone text tower for one whose tokens are averaged, and before its version
5.4 a whole CLIP for a text model. No module normalises: like `encode_text`, it leaves that to who
asks.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.checkpoints.formats.safetensors import write_safetensors


def write_sentence_transformers_files(
    directory: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None,
) -> None:
    """modules.json, and for a lone text tower its pooling and its projection once more.

    Args:
        directory: the model directory, already there.
        config: config.json.
        tensors: by Hugging Face's names.
        dtype: what weights are stored in; None keeps theirs.
    """
    if config["model_type"] == "clip":
        _write(directory / "modules.json", _modules(CLIPModel=""))
        return
    folders = {"Transformer": "", "Pooling": "1_Pooling"}
    (directory / "1_Pooling").mkdir()
    _write(directory / "1_Pooling" / "config.json", _pooling(config["hidden_size"]))
    if "text_projection.weight" in tensors:
        folders["Dense"] = "2_Dense"
        (directory / "2_Dense").mkdir()
        linear = {
            name.replace("text_projection", "linear"): tensor
            for name, tensor in tensors.items()
            if name.startswith("text_projection.")
        }
        _write(directory / "2_Dense" / "config.json", _dense(linear))
        write_safetensors(directory / "2_Dense" / "model.safetensors", linear, dtype)
    _write(directory / "modules.json", _modules(**folders))


def _modules(**folders: str) -> list[dict[str, Any]]:
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(folders.items())
    ]


def _pooling(width: int) -> dict[str, Any]:
    """The last token that is no padding: the end of text, where CLIP reads."""
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    return {
        "word_embedding_dimension": width,
        **{f"pooling_mode_{mode}": mode == "lasttoken" for mode in modes},
    }


def _dense(linear: Mapping[str, Tensor]) -> dict[str, Any]:
    joint, width = linear["linear.weight"].shape
    return {
        "in_features": width,
        "out_features": joint,
        "bias": "linear.bias" in linear,
        "activation_function": "torch.nn.modules.linear.Identity",
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
