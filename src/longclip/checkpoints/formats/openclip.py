"""OpenCLIP's directory layout: open_clip_config.json and one weight file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longclip.checkpoints.formats.huggingface import read_json
from longclip.errors import CheckpointError, UsageError
from longclip.inputs.preprocess import OPENAI_MEAN, OPENAI_STD
from longclip.spec import EOT, STOCK_CONTEXT

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
PICKLED = "open_clip_pytorch_model.bin"


def weights_in(directory: Path) -> Path:
    """The weight file, safetensors where there are both.

    Raises:
        CheckpointError: if there is none.
    """
    for name in (WEIGHTS, PICKLED):
        if (directory / name).is_file():
            return directory / name
    raise CheckpointError(f"{directory} has {CONFIG} but neither {WEIGHTS} nor {PICKLED}")


def read_config(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and preprocessor_config.json, in Hugging Face's words.

    Raises:
        CheckpointError: if the image tower is no ViT or a section is missing.
    """
    path = directory / CONFIG
    content = read_json(path)
    model = content.get("model_cfg", content)
    try:
        config = _config(model)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a CLIP with two towers: {error}") from None
    return config, _preprocess(content.get("preprocess_cfg", {}), config["vision_config"])


def _config(model: Mapping[str, Any]) -> dict[str, Any]:
    text, vision = dict(model["text_cfg"]), dict(model["vision_cfg"])
    if not isinstance(vision["layers"], int) or "timm_model_name" in vision:
        raise UsageError("its image tower is no ViT of CLIP's")
    if "hf_model_name" in text:
        raise UsageError(f"its text tower is {text['hf_model_name']}")
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
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "hidden_act": activation,
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
    }


def _preprocess(values: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"crop_size": vision["image_size"], "size": vision["image_size"]}
    for ours, theirs in (("image_mean", "mean"), ("image_std", "std")):
        if theirs in values:
            found[ours] = list(values[theirs])
    return found


def write_config(config: Mapping[str, Any], preprocess: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip_config.json from config.json and preprocessor_config.json."""
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
    """A ratio that gives the inner width again when the product is cut to a whole number."""
    inner, width = tower["intermediate_size"], tower["hidden_size"]
    exact: float = inner / width
    return exact if int(width * exact) == inner else (inner + 0.25) / width
