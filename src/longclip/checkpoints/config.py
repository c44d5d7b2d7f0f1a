"""The JSON of model directories, and the config.json of bare weights, inferred from shapes."""

import json
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longclip.errors import CheckpointError
from longclip.spec import BOS, EOT, POSITION_TABLE
from longclip.util.files import write_text
from longclip.util.regular_files import read_regular

if TYPE_CHECKING:
    from torch import Tensor


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        CheckpointError: if the file is missing, is not JSON, or is not an object.
    """
    try:
        values = json.loads(read_regular(path).decode("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: a model directory holds config.json and model.safetensors"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # ValueError is also a number of 4,301 digits
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}, expected a JSON object")
    return values


def read_clip_config(path: Path) -> dict[str, Any]:
    """Read a config.json of a CLIP; earlier versions of transformers wrote its towers twice.

    As in transformers, what `text_config_dict` says goes before `text_config`; so of pictures.

    Raises:
        CheckpointError: as `read_json`.
    """
    config = read_json(path)
    if not isinstance(config.get("model_type"), str | None):
        raise CheckpointError(f"{path}: model_type {config['model_type']!r:.60} is not a text")
    for section in ("text_config", "vision_config"):
        tower, stronger = config.get(section), config.get(f"{section}_dict")
        if isinstance(stronger, dict) and isinstance(tower, dict | None):
            config[section] = {**(tower or {}), **stronger}
    return config


def write_json(path: Path, values: object) -> None:
    """Write a JSON file atomically, indented for people to read."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


# What shapes of tensors show of a tower.
_SHOWN = {"hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "patch_size"}
_SHOWN |= {"max_position_embeddings", "image_size"}


def has_shapes(described: Mapping[str, Any], inferred: Mapping[str, Any]) -> bool:
    """Return whether a configuration can be that of weights of these shapes.

    Args:
        described: a config.json, which may be of a whole CLIP where the weights are a lone tower.
        inferred: as `infer_config` returns it.
    """
    for kind in ("text", "vision"):
        whole = f"{kind}_config" in inferred
        if not whole and inferred["model_type"] != f"clip_{kind}_model":
            continue
        mine = inferred[f"{kind}_config"] if whole else inferred
        alone = described.get("model_type") == f"clip_{kind}_model"
        theirs = described if alone else described.get(f"{kind}_config")
        if not isinstance(theirs, Mapping):
            return False
        if any(theirs.get(key, mine[key]) != mine[key] for key in _SHOWN & mine.keys()):
            return False
    return True


def adopt_config(inferred: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that lies beside weights, with the sizes that their shapes show.

    Args:
        inferred: as `infer_config` returns it.
        described: of the same towers, as `has_shapes` allows it.
    """
    if "text_config" not in inferred:
        # Of a lone tower, the shapes say whether there is a projection.
        kept = {"model_type", "architectures", "projection_dim", "text_projection_bias"}
        described = {key: value for key, value in described.items() if key not in kept}
        return {**described, **{k: v for k, v in inferred.items() if k in kept | _SHOWN}}
    towers = {
        name: {**described[name], **{k: v for k, v in inferred[name].items() if k in _SHOWN}}
        for name in ("text_config", "vision_config")
    }
    kept = {"model_type", "projection_dim", "text_projection_bias"}
    return {**described, **{k: v for k, v in inferred.items() if k in kept}, **towers}


_TEXT, _VISION = "text_model", "vision_model"

HEAD_WIDTH = 64
"""Channels of an attention head in nearly every CLIP; OpenAI's code and ComfyUI know no other."""

# Heads cannot be read from shapes: one matrix makes the queries of all of them. They have the usual
# width but in the image towers of ViT-H, ViT-g and ViT-bigG, which are known by their own width
# (OpenCLIP's configurations).
_VISION_HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}


# Ids of the end of a text and of padding in the vocabularies of MetaCLIP 2 (XLM-V's, mT5's), by the
# number of tokens (OpenCLIP's configurations).
_ENDS = {901_629: (2, 1), 250_100: (1, 0)}


def infer_config(path: Path, tensors: Mapping[str, "Tensor"], activation: str) -> dict[str, Any]:
    """Return the config.json of tensors that have Hugging Face's names.

    A tower without the other gets the configuration of a model of its own.

    Args:
        path: where the tensors come from, for messages.
        tensors: by name.
        activation: quick_gelu or gelu, which no shape shows.

    Raises:
        CheckpointError: if a tensor that decides the shape is missing or has a strange shape; names
            the path.
    """
    towers = _infer_towers(path, tensors, activation)
    if not towers:
        raise CheckpointError(f"{path}: there is no tower of a CLIP in it")
    joint: dict[str, Any] = {}
    for name in ("text_projection.weight", "visual_projection.weight"):
        if name in tensors:
            joint["projection_dim"] = tensors[name].shape[0]
    if "text_projection.bias" in tensors:
        joint["text_projection_bias"] = True
    if len(towers) == 2:
        sections = {f"{name}_config": section for name, section in towers.items()}
        return {"model_type": "clip", **joint, **sections}
    ((name, section),) = towers.items()
    architecture = f"CLIP{name.capitalize()}Model{'WithProjection' if joint else ''}"
    return {"model_type": f"clip_{name}_model", "architectures": [architecture], **section, **joint}


def _special_tokens(vocabulary: int) -> dict[str, Any]:
    """Return the fields that say where texts begin and end, by the number of tokens."""
    if vocabulary == EOT + 1:
        return {"bos_token_id": BOS, "eos_token_id": EOT, "pad_token_id": EOT}
    if vocabulary in _ENDS:
        end, pad = _ENDS[vocabulary]
        return {"bos_token_id": 0, "eos_token_id": end, "pad_token_id": pad, "pooling": "eos"}
    # As OpenAI's code and OpenCLIP's, at the largest id; what fills a text up must be smaller.
    end = vocabulary - 1
    return {"bos_token_id": 0, "eos_token_id": end, "pad_token_id": 0, "pooling": "argmax"}


def _infer_towers(
    path: Path, tensors: Mapping[str, "Tensor"], activation: str
) -> dict[str, dict[str, Any]]:
    """Return the sections of a config.json by their names, text and vision."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in tensors:
            raise CheckpointError(
                f"{path}: there is no {name}, without which no CLIP tower can be made"
            )
        sizes = tuple(tensors[name].shape)
        if len(sizes) != dimensions:
            raise CheckpointError(
                f"{path}: {name} is {list(sizes)}, expected {dimensions} dimensions"
            )
        return sizes

    def tower(prefix: str, width: int, heads: int) -> dict[str, Any]:
        inner, _ = shape(f"{prefix}.encoder.layers.0.mlp.fc1.weight", 2)
        start = f"{prefix}.encoder.layers."
        return {
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": len({n.split(".")[3] for n in tensors if n.startswith(start)}),
            "num_attention_heads": max(1, heads),
            "hidden_act": activation,
        }

    towers: dict[str, dict[str, Any]] = {}
    if any(name.startswith(_TEXT) for name in tensors):
        vocabulary, width = shape(f"{_TEXT}.embeddings.token_embedding.weight", 2)
        positions, _ = shape(POSITION_TABLE, 2)
        towers["text"] = tower(_TEXT, width, width // HEAD_WIDTH) | {
            "vocab_size": vocabulary,
            "max_position_embeddings": positions,
            **_special_tokens(vocabulary),
        }
    if any(name.startswith(_VISION) for name in tensors):
        width, _, patch, _ = shape(f"{_VISION}.embeddings.patch_embedding.weight", 4)
        positions, _ = shape(f"{_VISION}.embeddings.position_embedding.weight", 2)
        grid = isqrt(max(0, positions - 1))
        if grid**2 + 1 != positions:
            raise CheckpointError(
                f"{path}: the image tower has {positions} positions, which is not a square grid "
                "and a class token; only square ViT image towers can be read"
            )
        heads = width // _VISION_HEAD_WIDTHS.get(width, HEAD_WIDTH)
        towers["vision"] = tower(_VISION, width, heads)
        towers["vision"] |= {"patch_size": patch, "image_size": patch * grid}
    return towers
