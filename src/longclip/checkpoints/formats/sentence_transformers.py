"""Files that sentence-transformers wants beside a model's own: the modules of its embedding.

Without them it takes a lone text tower for one whose tokens are averaged, and before its version
5.4 a whole CLIP for a text model. No module normalises: like `encode_text`, that is left to the
caller.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.checkpoints.config import write_json
from longclip.checkpoints.tensor_files import write_safetensors

# By the name that versions before 5.4 do not know, as they do not know how to pad to a length.
_TRANSFORMER = {
    "idx": 0,
    "name": "0",
    "path": "",
    "type": "sentence_transformers.base.modules.transformer.Transformer",
}
_PADDED = {
    "processing_kwargs": {"text": {"padding": "max_length"}},
    "modality_config": {
        kind: {"method": f"get_{kind}_features", "method_output_name": "pooler_output"}
        for kind in ("text", "image")
    },
    "module_output_name": "sentence_embedding",
}
OLD_FOLDER = "0_CLIPModel"
"""Folder of the one module of a CLIP in directories from before version 5.4."""


def write_sentence_transformers_files(
    directory: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None,
) -> None:
    """Write modules.json, and for a lone text tower its pooling and its projection once more.

    A whole MetaCLIP 2 needs none: versions that know it find its parts. SigLIP's texts are padded
    to the full length, which its library's own default is not.

    Args:
        directory: the model directory, already there.
        config: config.json.
        tensors: by Hugging Face's names.
        dtype: what weights are stored in; None keeps theirs.
    """
    if config["model_type"] == "clip":
        write_json(directory / "modules.json", _modules(CLIPModel=""))
        return
    if config["model_type"] == "siglip":
        write_json(directory / "modules.json", [_TRANSFORMER])
        write_json(directory / "sentence_bert_config.json", _PADDED)
        return
    if config["model_type"] == "metaclip_2":
        return
    folders = {"Transformer": "", "Pooling": "1_Pooling"}
    (directory / "1_Pooling").mkdir()
    # The last token that is no padding is the end of text, where CLIP reads.
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "lasttoken")
    pooling = {f"pooling_mode_{mode}": mode == "lasttoken" for mode in modes}
    write_json(
        directory / "1_Pooling" / "config.json",
        {"word_embedding_dimension": config["hidden_size"], **pooling},
    )
    if "text_projection.weight" in tensors:
        folders["Dense"] = "2_Dense"
        (directory / "2_Dense").mkdir()
        linear = {
            name.replace("text_projection", "linear"): tensor
            for name, tensor in tensors.items()
            if name.startswith("text_projection.")
        }
        joint, width = linear["linear.weight"].shape
        write_json(
            directory / "2_Dense" / "config.json",
            {
                "in_features": width,
                "out_features": joint,
                "bias": "linear.bias" in linear,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
        write_safetensors(directory / "2_Dense" / "model.safetensors", linear, dtype)
    write_json(directory / "modules.json", _modules(**folders))


def _modules(**folders: str) -> list[dict[str, Any]]:
    """Return modules.json for the folder of each module, by its class."""
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(folders.items())
    ]
