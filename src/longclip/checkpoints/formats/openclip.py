"""OpenCLIP's layout: open_clip_config.json and one weight file, or a bare weight file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import HEAD_WIDTH, infer_config, read_json
from longclip.checkpoints.fields import (
    OPENCLIP,
    OPENCLIP_PREPROCESS,
    OPENCLIP_TEXT,
    OPENCLIP_VISION,
    check_fields,
)
from longclip.checkpoints.formats import openai
from longclip.checkpoints.tensor_files import read_values
from longclip.checkpoints.wrappings import unwrap
from longclip.errors import CheckpointError
from longclip.image.preprocess import OPENAI_MEAN, OPENAI_STD
from longclip.spec import EOT, STOCK_CONTEXT

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
PICKLED = "open_clip_pytorch_model.bin"


def recognise(source: Source) -> bool:
    """Return whether it is a directory in this layout, or any file.

    Bare weights have OpenAI's names and nothing of OpenCLIP's own, so every other format comes
    first.
    """
    return source.has_file(CONFIG) or not source.path.is_dir()


def open(source: Source) -> Checkpoint:
    """Read a directory, or a file of bare weights or of a training run.

    Raises:
        CheckpointError: if something is missing, broken or of no CLIP with ViT towers, or the
            caller names an activation for a directory that says its own.
    """
    path = source.path
    if path.is_dir():
        return _open_directory(source)
    if path.name in (WEIGHTS, PICKLED) and (source.folder / CONFIG).is_file():
        return _open_directory(source)
    tensors = openai.rename(path, openai.plain_names(path, source.tensors))
    activation, assumed = source.settle_activation(source.usual_activation)
    config = infer_config(path, tensors, activation)
    bare = Checkpoint(path, (path,), "OpenCLIP", config, tensors, assumed=assumed)
    if not (source.folder / CONFIG).is_file():
        return bare
    described, preprocess = read_config(source.folder)
    return source.with_config(bare, CONFIG, described, lambda: preprocess)


def _open_directory(source: Source) -> Checkpoint:
    """Read weights by the configuration of their directory."""
    path, folder = source.path, source.folder
    source.refuse_activation()
    config, preprocess = read_config(folder)
    weights = path if path != folder else None
    for name in (WEIGHTS, PICKLED):
        if weights is None and (folder / name).is_file():
            weights = folder / name
    if weights is None:
        raise CheckpointError(f"{path} has {CONFIG} but neither {WEIGHTS} nor {PICKLED}")
    found, notes = unwrap(weights, read_values(weights))
    tensors = openai.rename(path, openai.plain_names(path, found))
    return Checkpoint(
        path,
        (weights,),
        "OpenCLIP",
        config,
        tensors,
        preprocess,
        notes,
        config_file=folder / CONFIG,
    )


def read_config(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config.json and preprocessor_config.json, in Hugging Face's words.

    Raises:
        CheckpointError: if the image tower is no ViT or a section is missing.
    """
    path = directory / CONFIG
    content = read_json(path)
    try:
        config = _config(content.get("model_cfg", content))
        pictures = content.get("preprocess_cfg", {})
        check_fields(pictures, OPENCLIP_PREPROCESS, "preprocess_cfg")
        size = config["vision_config"]["image_size"]
        preprocess: dict[str, Any] = {"crop_size": size, "size": size}
        for ours, theirs in (("image_mean", "mean"), ("image_std", "std")):
            if theirs in pictures:
                preprocess[ours] = list(pictures[theirs])
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path} does not describe a CLIP with two towers: {error}") from None
    return config, preprocess


def _config(model: Mapping[str, Any]) -> dict[str, Any]:
    text, vision = dict(model["text_cfg"]), dict(model["vision_cfg"])
    if not isinstance(vision["layers"], int) or "timm_model_name" in vision:
        raise CheckpointError("its image tower is no ViT of CLIP's")
    check_fields(model, OPENCLIP, "model_cfg")
    check_fields(text, OPENCLIP_TEXT, "text_cfg")
    check_fields(vision, OPENCLIP_VISION, "vision_cfg")
    if "hf_model_name" in text:
        raise CheckpointError(f"its text tower is {text['hf_model_name']}")
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    vocabulary = text.get("vocab_size", EOT + 1)
    return {
        "model_type": "clip",
        "projection_dim": model["embed_dim"],
        "text_config": {
            "hidden_size": text["width"],
            "intermediate_size": round(text["width"] * text.get("mlp_ratio", 4)),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "hidden_act": activation,
            "vocab_size": vocabulary,
            "max_position_embeddings": text.get("context_length", STOCK_CONTEXT),
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        "vision_config": {
            "hidden_size": vision["width"],
            "intermediate_size": round(vision["width"] * vision.get("mlp_ratio", 4)),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision.get("head_width", HEAD_WIDTH),
            "hidden_act": activation,
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
    }


def write_config(config: Mapping[str, Any], preprocess: Mapping[str, Any]) -> dict[str, Any]:
    """Return open_clip_config.json for config.json and preprocessor_config.json."""
    text, vision = config["text_config"], config["vision_config"]
    model = {
        "embed_dim": config["projection_dim"],
        "quick_gelu": text.get("hidden_act", "quick_gelu") == "quick_gelu",
        "vision_cfg": {
            "image_size": vision["image_size"],
            "layers": vision["num_hidden_layers"],
            "width": vision["hidden_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            "mlp_ratio": _ratio(vision),
            "patch_size": vision["patch_size"],
        },
        "text_cfg": {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "width": text["hidden_size"],
            "heads": text["num_attention_heads"],
            "layers": text["num_hidden_layers"],
            "mlp_ratio": _ratio(text),
        },
    }
    pictures = {
        theirs: list(preprocess.get(ours, default))
        for theirs, ours, default in (
            ("mean", "image_mean", OPENAI_MEAN),
            ("std", "image_std", OPENAI_STD),
        )
    }
    return {
        "model_cfg": model,
        "preprocess_cfg": {**pictures, "interpolation": "bicubic", "resize_mode": "shortest"},
    }


def _ratio(tower: Mapping[str, Any]) -> float:
    """Return a ratio that gives the inner width again; OpenCLIP cuts the product to an int."""
    inner, width = tower["intermediate_size"], tower["hidden_size"]
    exact: float = inner / width
    return exact if int(width * exact) == inner else (inner + 0.25) / width
