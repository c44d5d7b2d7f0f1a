"""SigLIP and SigLIP 2 of fixed resolution, as transformers saves them (`model_type: siglip`).

A token sees the whole text, which is always padded to the context length and read at its last
position, padding or not; similarities have a bias beside their temperature (Zhai et al., ICCV
2023). The text tower has CLIP's names but for its projection, which is called head. The image tower
is computed by transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from longclip.checkpoints.fields import (
    SIGLIP_TEXT,
    SIGLIP_VISION,
    check_fields,
    refuse_other_fields,
)
from longclip.errors import CheckpointError, UsageError
from longclip.text.cleaning import Cleaning

if TYPE_CHECKING:
    from torch import Tensor

    from longclip.checkpoints.mapped_tensors import MappedTensor

AnyTensor = TypeVar("AnyTensor", "Tensor", "MappedTensor")

MODEL_TYPE = LAYOUT = "siglip"

HEAD = "text_model.head.weight"
"""Name of the tensor that every SigLIP has and no CLIP."""

_HEAD = {HEAD: "text_projection.weight"}
_HEAD |= {"text_model.head.bias": "text_projection.bias"}
_IMAGES, _HELD = "vision_model.", "vision_model.tower."
_SCALARS = ("logit_scale", "logit_bias")

# Of transformers, for what a config.json leaves out.
_TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "pad_token_id": 1,
}
_VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_GEMMA_VOCABULARY = 256_000


def describe(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json of a SiglipModel in this package's words.

    Raises:
        CheckpointError: if it describes something else, naming the field.
    """
    text, vision = (dict(config.get(f"{name}_config") or {}) for name in ("text", "vision"))
    try:
        check_fields(text, SIGLIP_TEXT, "text_config")
        check_fields(vision, SIGLIP_VISION, "vision_config")
        refuse_other_fields(text, SIGLIP_TEXT, "text_config")
        refuse_other_fields(vision, SIGLIP_VISION, "vision_config")
        joint = {n: v for n, v in config.items() if n not in ("text_config", "vision_config")}
        refuse_other_fields(joint, {})
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from None
    text = {**_TEXT_DEFAULTS, **text}
    vision = {name: vision.get(name, default) for name, default in _VISION_DEFAULTS.items()}
    joint = text.get("projection_size") or text["hidden_size"]
    side, patch = vision["image_size"], vision["patch_size"]
    if joint != vision["hidden_size"]:
        raise CheckpointError(
            f"{path}: texts are projected to {joint} numbers and images have "
            f"{vision['hidden_size']}"
        )
    return {
        "model_type": "clip",
        "layout": LAYOUT,
        "projection_dim": joint,
        "text_projection_bias": True,
        "logit_bias": True,
        "text_config": {
            **{name: text[name] for name in _TEXT_DEFAULTS},
            # Not used: it reads at the last position.
            "bos_token_id": 0,
            "eos_token_id": 0,
            "causal": False,
            "pooling": "last",
        },
        "vision_config": {
            "owner": "transformers",
            "image_size": side,
            "patches": (side // patch) ** 2,
            "config": vision,
        },
        "own": {"config.json": dict(config)},
    }


def preprocess(config: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a preprocessor_config.json, with SigLIP's processor where it names none.

    Args:
        config: as `describe` returns it.
        found: what lies beside the weights, if there is something.
    """
    kind = {"image_processor_type": "SiglipImageProcessor"}
    if found is None:
        side = config["vision_config"]["image_size"]
        return {**kind, "size": {"height": side, "width": side}}
    named = "image_processor_type" in found or "feature_extractor_type" in found
    return {**({} if named else kind), **found}


def cleaning(config: Mapping[str, Any]) -> Cleaning:
    """Return what is done to texts first: SigLIP's own form, or lower-casing in SigLIP 2.

    Args:
        config: as `describe` returns it.
    """
    vocabulary = config["text_config"]["vocab_size"]
    return ("lower",) if vocabulary == _GEMMA_VOCABULARY else ("canonicalize",)


def to_internal(tensors: Mapping[str, AnyTensor]) -> dict[str, AnyTensor]:
    """Return the tensors of a SiglipModel under this package's names."""
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(_IMAGES):
            found[_HELD + name.removeprefix(_IMAGES)] = tensor
        else:
            found[_HEAD.get(name, name)] = tensor.reshape(()) if name in _SCALARS else tensor
    return found


def from_internal(tensors: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the tensors under SiglipModel's names; the inverse of `to_internal`."""
    heads = {ours: theirs for theirs, ours in _HEAD.items()}
    found = {}
    for name, tensor in tensors.items():
        if name.startswith(_HELD):
            found[_IMAGES + name.removeprefix(_HELD)] = tensor
        else:
            found[heads.get(name, name)] = tensor.reshape(1) if name in _SCALARS else tensor
    return found
