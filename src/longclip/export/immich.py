"""Immich's layout: a config.json in OpenCLIP's words, and a folder for each tower.

Immich pads each text to the context length and embeds one text or picture at a time; its database
takes embeddings of length one.
"""

from pathlib import Path
from typing import Any

from longclip.checkpoints.config import write_json
from longclip.errors import CheckpointError
from longclip.model.clip import CLIP
from longclip.spec import Tower
from longclip.text.tokenizer_directory import CONFIG, TOKENIZER

IMMICH_FOLDERS: dict[Tower, str] = {"text": "textual", "image": "visual"}
"""Folders of the towers."""


def refuse_for_immich(model: CLIP) -> None:
    """Refuse what Immich would compute otherwise.

    Raises:
        CheckpointError: says what.
    """
    if not model.config.whole or model.config.text is None:
        raise CheckpointError(
            f"{model.name} is one tower alone, and Immich needs both; take --to onnx, or name the "
            "whole model"
        )
    own = model.tokenizer_files
    if own is None:
        return
    if TOKENIZER not in own.contents:
        raise CheckpointError(
            f"{own.origin} has no {TOKENIZER}, the one kind of tokenizer that Immich reads; put "
            "one there, or take --to onnx"
        )
    if own.special_id("pad") != model.pad_token_id and model.config.text.reads_padding:
        raise CheckpointError(
            f"{own.origin / CONFIG} names another padding than this model's ({model.pad_token_id}),"
            " and Immich pads with that; take --to onnx"
        )
    if own.cleaning and "canonicalize" not in own.cleaning:
        raise CheckpointError(
            f"{model.name} lower-cases its texts before its tokenizer does anything, and Immich "
            "does not; take --to onnx"
        )


def write_immich_files(directory: Path, model: CLIP) -> None:
    """Write the model's description for Immich, all but the tokenizer: shape and preprocessing."""
    config, pictures = model.config, model.preprocess
    assert config.text
    text: dict[str, Any] = {
        "context_length": model.context_length,
        "vocab_size": model.vocab_size,
        "width": config.text.hidden_size,
        "heads": config.text.num_attention_heads,
        "layers": config.text.num_hidden_layers,
    }
    own = model.tokenizer_files
    if own and "canonicalize" in own.cleaning:
        text["tokenizer_kwargs"] = {"clean": "canonicalize"}
    described = {
        "embed_dim": model.embedding_dim,
        "vision_cfg": {"image_size": pictures.image_size},
        "text_cfg": text,
    }
    write_json(directory / "config.json", described)
    preprocess = {
        "size": [pictures.image_size] * 2,
        "mode": "RGB",
        "mean": list(pictures.mean),
        "std": list(pictures.std),
        "interpolation": pictures.interpolation,
        "resize_mode": pictures.resize,
        "fill_color": 0,
    }
    write_json(directory / IMMICH_FOLDERS["image"] / "preprocess_cfg.json", preprocess)
