"""OpenCLIP's layout: open_clip_config.json and one weight file, or a bare weight file."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import HEAD_WIDTH, infer_config, read_json
from longclip.checkpoints.fields import (
    OPENCLIP,
    OPENCLIP_FOREIGN_VISION,
    OPENCLIP_PREPROCESS,
    OPENCLIP_TEXT,
    OPENCLIP_VISION,
    check_fields,
    refuse_other_fields,
)
from longclip.checkpoints.formats import openai
from longclip.checkpoints.model_names import is_hub_id
from longclip.checkpoints.tensor_files import read_values
from longclip.checkpoints.wrappings import unwrap
from longclip.errors import CheckpointError, UsageError
from longclip.image.preprocess import OPENAI_MEAN, OPENAI_STD
from longclip.spec import EOT, STOCK_CONTEXT
from longclip.text.cleaning import Cleaning
from longclip.text.tokenizer_directory import (
    TokenizerFiles,
    tokenizer_beside,
    tokenizer_files,
)

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
PICKLED = "open_clip_pytorch_model.bin"

_RESAMPLE = {"bilinear": 2, "bicubic": 3}
"""Pillow's numbers of filters."""

_IMAGES, _HELD = "visual.", "vision_model.tower."
_SCALARS = ("logit_scale", "logit_bias")

_CLEANINGS: dict[str, Cleaning] = {
    "whitespace": ("repair", "spaces"),
    "lower": ("repair", "spaces", "lower"),
    "canonicalize": ("repair", "canonicalize"),
}
"""OpenCLIP's names of what it does to texts before the tokenizer of another library."""

_MEASURED = "`longclip eval open_clip:NAME` measures it as it is"


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
    beside = read_config(source.folder) if (source.folder / CONFIG).is_file() else None
    if beside and _is_whole(beside[0], source.tensors):
        return _open_directory(source)
    tensors = openai.rename(path, openai.plain_names(path, source.tensors))
    activation, assumed = source.settle_activation(source.usual_activation)
    config = infer_config(path, tensors, activation)
    bare = Checkpoint(path, (path,), "OpenCLIP", config, tensors, assumed=assumed)
    if beside is None:
        return bare
    return source.with_config(bare, CONFIG, beside[0], lambda: read_files(source.folder))


def _is_whole(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are those of a model that keeps its own layout, by its text tower."""
    text = config["text_config"]
    shapes = {name.removeprefix("text."): list(tensor.shape) for name, tensor in tensors.items()}
    return (
        config.get("layout") == "open_clip"
        and shapes.get("token_embedding.weight") == [text["vocab_size"], text["hidden_size"]]
        and shapes.get("positional_embedding")
        == [text["max_position_embeddings"], text["hidden_size"]]
        and any(name.startswith(_IMAGES) for name in tensors)
    )


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
    own = config.get("layout") == "open_clip"
    tensors = (
        to_internal(path, found, config)
        if own
        else openai.rename(path, openai.plain_names(path, found))
    )
    return Checkpoint(
        path,
        (weights,),
        "OpenCLIP",
        config,
        tensors,
        preprocess,
        notes,
        config_file=folder / CONFIG,
        tokenizer=_own_tokenizer(folder, config),
    )


def read_files(
    folder: Path,
) -> tuple[dict[str, Any], dict[str, Any], TokenizerFiles | None]:
    """Return what `read_config` does, and the tokenizer where it is not CLIP's."""
    config, preprocess = read_config(folder)
    return config, preprocess, _own_tokenizer(folder, config)


def _own_tokenizer(folder: Path, config: dict[str, Any]) -> TokenizerFiles | None:
    """Return a model's tokenizer where it is not CLIP's; note its padding in the configuration."""
    content = config.get("own", {}).get(CONFIG, {})
    text = content.get("model_cfg", content).get("text_cfg", {})
    name = text.get("hf_tokenizer_name")
    options = dict(text.get("tokenizer_kwargs") or {})
    if not name:
        if options not in ({}, {"clean": "lower"}):
            raise CheckpointError(
                f"{folder / CONFIG}: tokenizer_kwargs {options!r:.100} change what CLIP's "
                f"tokenizer does, which is not known here; {_MEASURED}"
            )
        # OpenCLIP takes CLIP's tokenizer then, whose ids other vocabularies have no words for.
        vocabulary = config["text_config"]["vocab_size"]
        return None if vocabulary == EOT + 1 else tokenizer_beside(folder, vocabulary)
    clean = options.pop("clean", "whitespace")
    if options or clean not in _CLEANINGS:
        raise CheckpointError(
            f"{folder / CONFIG}: tokenizer_kwargs {text['tokenizer_kwargs']} are not known; only "
            f"clean is, one of {', '.join(_CLEANINGS)}"
        )
    files = tokenizer_files(folder, _CLEANINGS[clean])
    if not files.readable:
        files = _named_tokenizer(name, files)
    pad = files.special_id("pad")
    if pad is not None:
        config["text_config"]["pad_token_id"] = pad
    return files


def _named_tokenizer(name: str, beside: TokenizerFiles) -> TokenizerFiles:
    """Return the tokenizer of this name on the hub; where it cannot be had, why not.

    Pictures can be embedded and weights converted all the same, so only the first text fails.
    """
    from longclip.checkpoints.hub import fetch_tokenizer  # it imports this module

    try:
        if not is_hub_id(name):
            raise CheckpointError(f"{CONFIG} names {name!r}, which is no owner/model on the hub")
        return tokenizer_files(fetch_tokenizer(name), beside.cleaning)
    except CheckpointError as error:
        return replace(beside, absence=str(error))


def to_internal(
    path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return tensors of a model that keeps OpenCLIP's layout under this package's names."""
    foreign = "owner" in config["vision_config"]
    images = {n: t for n, t in tensors.items() if foreign and n.startswith(_IMAGES)}
    others = {n: t for n, t in tensors.items() if n not in images}
    bias = {n: openai.scalar(t) for n, t in others.items() if n == "logit_bias"}
    plain = openai.plain_names(path, {n: t for n, t in others.items() if n not in bias})
    held = {_HELD + name.removeprefix(_IMAGES): tensor for name, tensor in images.items()}
    return openai.rename(path, plain) | bias | held


def from_internal(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of such a model under OpenCLIP's names; the inverse of `to_internal`."""
    content = config["own"][CONFIG]
    model = content.get("model_cfg", content)
    prefix = "text." if model.get("custom_text") else ""
    shape = (1,) if model.get("nonscalar_logit_scale") else ()
    apart = {n: t for n, t in tensors.items() if n.startswith(_HELD) or n in _SCALARS}
    found: dict[str, Tensor] = {}
    for name, tensor in openai.from_huggingface(
        {n: t for n, t in tensors.items() if n not in apart}
    ).items():
        if name.startswith(_IMAGES):
            found[name] = tensor
        elif name == "text_projection" and model["text_cfg"].get("proj_bias"):
            found[f"{prefix}text_projection.weight"] = tensor.T
        else:
            found[prefix + name] = tensor
    for name, tensor in apart.items():
        if name in _SCALARS:
            found[name] = tensor.reshape(shape)
        else:
            found[_IMAGES + name.removeprefix(_HELD)] = tensor
    return found


def read_config(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config.json in this package's words, and preprocessor_config.json.

    Raises:
        CheckpointError: if something in it is not what this package or open_clip computes.
    """
    path = directory / CONFIG
    content = read_json(path)
    try:
        config = describe(content)
        pictures = content.get("preprocess_cfg", {})
        check_fields(pictures, OPENCLIP_PREPROCESS, "preprocess_cfg")
        refuse_other_fields(pictures, OPENCLIP_PREPROCESS, "preprocess_cfg")
        size = config["vision_config"]["image_size"]
        preprocess: dict[str, Any] = {"crop_size": size, "size": size}
        for ours, theirs in (("image_mean", "mean"), ("image_std", "std")):
            if theirs in pictures:
                preprocess[ours] = list(pictures[theirs])
        preprocess["resample"] = _RESAMPLE[pictures.get("interpolation", "bicubic")]
        if pictures.get("resize_mode", "shortest") == "squash":
            preprocess |= {"do_center_crop": False, "size": {"height": size, "width": size}}
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path} does not describe a CLIP with two towers: {error}") from None
    return config, preprocess


def describe(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an open_clip_config.json in this package's words.

    A CLIP that Hugging Face's CLIPModel has a place for is described as one. Anything else keeps
    its own layout, and its own image tower where that is not CLIP's ViT.

    Raises:
        UsageError: if something in it is not what this package or open_clip computes.
        KeyError: if something is missing.
    """
    model = content.get("model_cfg", content)
    if "multimodal_cfg" in model:
        raise UsageError("it is a CoCa, whose texts have a class token of their own; " + _MEASURED)
    check_fields(model, {name: OPENCLIP[name] for name in ("text_cfg", "vision_cfg")}, "model_cfg")
    if model["text_cfg"].get("hf_model_name"):
        raise UsageError(
            f"its text tower is {model['text_cfg']['hf_model_name']} of transformers, which has no "
            f"table of 77 positions to lengthen; {_MEASURED}"
        )
    check_fields(model, OPENCLIP, "model_cfg")
    refuse_other_fields(model, OPENCLIP, "model_cfg")
    text, vision = model["text_cfg"], model["vision_cfg"]
    if (text.get("tokenizer_kwargs") or {}).get("strip_sep_token"):
        raise UsageError(
            "it is a CLIPA, whose tokenizer (strip_sep_token of tokenizer_kwargs) is not known "
            f"here; {_MEASURED}"
        )
    check_fields(text, OPENCLIP_TEXT, "text_cfg")
    refuse_other_fields(text, OPENCLIP_TEXT, "text_cfg")
    quick = bool(model.get("quick_gelu"))
    described = _text_config(text, quick)
    foreign = _foreign_reason(vision)
    rules = OPENCLIP_FOREIGN_VISION if foreign else OPENCLIP_VISION
    check_fields(vision, rules, "vision_cfg")
    refuse_other_fields(vision, rules, "vision_cfg")
    config: dict[str, Any] = {
        "model_type": "clip",
        "projection_dim": model["embed_dim"],
        "text_config": described,
        "vision_config": _foreign_vision(model) if foreign else _vision_config(vision, quick),
    }
    biased = model.get("init_logit_bias") is not None
    stock = not foreign and not biased and _is_stock(text)
    if stock:
        return config
    return {
        **config,
        "layout": "open_clip",
        "own": {CONFIG: dict(content)},
        **({"logit_bias": True} if biased else {}),
        **({"text_projection_bias": True} if text.get("proj_bias") else {}),
        **({"text_projection": False} if text.get("proj_type") == "none" else {}),
    }


def _is_stock(text: Mapping[str, Any]) -> bool:
    """Return whether Hugging Face's CLIPModel has a place for such a text tower."""
    usual = {
        "no_causal_mask": False,
        "pool_type": "argmax",
        "proj_type": "linear",
        "proj_bias": False,
        "act_kwargs": None,
        "norm_kwargs": None,
        "hf_tokenizer_name": None,
        "tokenizer_kwargs": None,
    }
    return all((text.get(name, value) or None) == (value or None) for name, value in usual.items())


def _text_config(text: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    vocabulary = text.get("vocab_size", EOT + 1)
    tanh = (text.get("act_kwargs") or {}).get("approximate") == "tanh"
    if quick and tanh:
        raise UsageError("text_cfg: act_kwargs are those of GELU, and quick_gelu is true")
    own = bool(text.get("hf_tokenizer_name"))
    causal = not text.get("no_causal_mask", False)
    reads_padding = not causal or text.get("pool_type") == "last"
    eos = text.get("eos_id", 2) if text.get("pool_type") == "eos" else vocabulary - 1
    width = text.get("width", 512)
    return {
        "hidden_size": width,
        # OpenCLIP cuts the product.
        "intermediate_size": int(width * text.get("mlp_ratio", 4)),
        "num_hidden_layers": text.get("layers", 12),
        "num_attention_heads": text.get("heads", 8),
        "hidden_act": "quick_gelu" if quick else "gelu_pytorch_tanh" if tanh else "gelu",
        "layer_norm_eps": (text.get("norm_kwargs") or {}).get("eps", 1e-5),
        "vocab_size": vocabulary,
        "max_position_embeddings": text.get("context_length", STOCK_CONTEXT),
        "bos_token_id": max(0, vocabulary - 2),
        "eos_token_id": eos,
        # Where padding is read it matters; OpenCLIP's own tokenizer has 0, others say theirs.
        "pad_token_id": 0 if reads_padding or own else vocabulary - 1,
        "causal": causal,
        # With CLIP's vocabulary the largest id is the end.
        "pooling": "eos"
        if not own and text.get("pool_type", "argmax") == "argmax"
        else text.get("pool_type", "argmax"),
    }


def _vision_config(vision: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    width = vision.get("width", 768)
    return {
        "hidden_size": width,
        "intermediate_size": int(width * vision.get("mlp_ratio", 4)),
        "num_hidden_layers": vision.get("layers", 12),
        "num_attention_heads": width // vision.get("head_width", HEAD_WIDTH),
        "hidden_act": "quick_gelu" if quick else "gelu",
        "image_size": vision.get("image_size", 224),
        "patch_size": vision.get("patch_size", 16),
    }


def _foreign_reason(vision: Mapping[str, Any]) -> bool:
    """Return whether an image tower is another than CLIP's ViT."""
    if vision.get("timm_model_name") or isinstance(vision.get("layers"), list):
        return True
    unusual = ("ls_init_value", "no_ln_pre", "final_ln_after_pool", "act_kwargs", "norm_kwargs")
    return vision.get("pool_type", "tok") != "tok" or any(vision.get(name) for name in unusual)


def _foreign_vision(model: Mapping[str, Any]) -> dict[str, Any]:
    vision = model["vision_cfg"]
    side = vision.get("image_size", 224)
    patch = vision.get("patch_size") or _patch_size(str(vision.get("timm_model_name") or ""))
    return {
        "owner": "open_clip",
        "image_size": side,
        "patches": max(1, (side // patch) ** 2),
        "config": {
            "embed_dim": model["embed_dim"],
            "quick_gelu": bool(model.get("quick_gelu")),
            "vision_cfg": dict(vision),
        },
    }


def _patch_size(name: str) -> int:
    """Return a ViT's patch size by its name, 32 for the grid that convolutional networks end in."""
    match = re.search(r"patch(\d+)", name)
    return int(match[1]) if match and int(match[1]) else 32


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
