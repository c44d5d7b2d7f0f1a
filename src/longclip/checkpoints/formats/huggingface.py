"""Hugging Face's layout: config.json and safetensors, whole or in shards, or a bare weight file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.config import infer_config, read_clip_config, read_json
from longclip.checkpoints.fields import TEXT, VISION, WHOLE, refuse_other_fields
from longclip.checkpoints.formats import metaclip_2, openclip, siglip
from longclip.checkpoints.formats.fg_clip import fold_long_path
from longclip.checkpoints.tensor_files import read_safetensors
from longclip.checkpoints.torch_files import read_torch_file
from longclip.checkpoints.wrappings import unwrap
from longclip.errors import CheckpointError, UsageError
from longclip.spec import EOT
from longclip.text.tokenizer_directory import TokenizerFiles, tokenizer_beside, tokenizer_files

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Where transformers 5 writes the preprocessing of a processor: under image_processor."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
_VARIANTS = "model.*.safetensors"
"""Diffusion pipelines may hold model.fp16.safetensors alone."""

MAX_CLIP_L_LAYERS = 22
"""Layers beyond which ComfyUI takes a text tower for CLIP-H or CLIP-G, which compute GELU."""

_TOWERS = ("text_model.", "vision_model.")
_CLIP_TYPES = ("clip", "clip_text_model", "clip_vision_model")
_BERT = "its text tower is a BERT or a relative of it, with 512 positions, which need no stretching"
_REFUSED = {
    "align": _BERT,
    "altclip": _BERT,
    "chinese_clip": _BERT,
    "vision-text-dual-encoder": _BERT,
    "jina_clip": "its text tower reads 8,192 tokens already",
    "siglip2": "a SigLIP 2 for pictures of any shape (NaFlex); those of fixed resolution are read",
    "siglip_text_model": "a SigLIP's text tower alone; name the whole model",
    "siglip_vision_model": "a SigLIP's image tower alone; name the whole model",
    "clipseg": "a CLIP with a decoder for segmentation; name the CLIP that it was made from",
    "owlvit": "a CLIP with heads for detection; name the CLIP that it was made from",
    "owlv2": "a CLIP with heads for detection; name the CLIP that it was made from",
    "xclip": "a CLIP for videos",
    "blip": "a captioner with a text tower of BERT's kind",
    "groupvit": "a CLIP whose image tower groups its patches, which is not computed here",
}
"""Models that look like a CLIP, and why they are none here."""
_POSITION_IDS = ".embeddings.position_ids"


def recognise(source: Source) -> bool:
    """Return whether it is a directory in this layout, or a file with these names of tensors."""
    if source.path.is_dir():
        has_config = source.has_file(CONFIG)
        has_weights = source.has_file(WEIGHTS, INDEX, PICKLED, f"{PICKLED}.index.json")
        # The hub's cache holds both layouts of a model where two programs have asked for it.
        if source.has_file(openclip.CONFIG):
            return has_config and has_weights and not is_timms(source.path / CONFIG)
        return has_config or has_weights
    return any(name.startswith(_TOWERS) for name in source.tensors)


def is_timms(config: Path) -> bool:
    """Return whether a config.json is timm's: of an image tower, beside the CLIP it comes from."""
    try:
        content = read_json(config)
    except CheckpointError:
        return False
    return "architecture" in content and "model_type" not in content


def open(source: Source) -> Checkpoint:
    """Read a directory, or a file of weights with the configuration that lies beside it.

    Raises:
        CheckpointError: if something is missing or broken, or the caller names an activation where
            the configuration says its own.
    """
    path = source.path
    if path.is_dir():
        return _open_directory(source, weight_files(path))
    tensors = _without_position_ids(source.tensors)
    described = _config_beside(source)
    is_siglip = siglip.HEAD in tensors
    if described is not None:
        same_family = (described.get("model_type") == siglip.MODEL_TYPE) == is_siglip
        if _is_whole(path) or (is_siglip and same_family):
            return _open_directory(source, (path,))
    if is_siglip:
        raise CheckpointError(
            f"{path} has the weights of a SigLIP, which do not say how its texts are cleaned and "
            f"its pictures read; put its {CONFIG} beside them"
        )
    # A lone text tower is what ComfyUI reads, which takes the activation from the depth.
    lone = not any(name.startswith("vision_model.") for name in tensors)
    start = "text_model.encoder.layers."
    layers = {name.split(".")[3] for name in tensors if name.startswith(start)}
    is_clip_l = lone and 0 < len(layers) <= MAX_CLIP_L_LAYERS
    guess = "quick_gelu" if is_clip_l else source.usual_activation
    activation, assumed = source.settle_activation(guess)
    config = infer_config(path, tensors, activation)
    bare = Checkpoint(path, (path,), "Hugging Face", config, tensors, assumed=assumed)
    if described is None:
        return bare
    kind = described.get("model_type")
    fields = {**described, "model_type": metaclip_2.MODEL_TYPES.get(str(kind), kind)}

    return source.with_config(bare, CONFIG, fields, lambda: read_files(source.folder / CONFIG))


def open_shards(source: Source) -> Checkpoint:
    """Read the directory of an index of shards, by that index.

    Raises:
        CheckpointError: as `open`.
    """
    return _open_directory(source, _shards(source.path))


def _open_directory(source: Source, files: tuple[Path, ...]) -> Checkpoint:
    """Read weights by the configuration of their directory."""
    folder = source.folder
    if (folder / CONFIG).is_file():
        source.refuse_activation()
    config, preprocess, tokenizer = read_files(folder / CONFIG)
    values = read_weights(files)
    notes: tuple[str, ...] = ()
    if config.get("layout") == siglip.LAYOUT:
        found = siglip.to_internal(_only_tensors(source.path, values))
    else:
        found, notes = unwrap(source.path, values)
        config, found, more = fold_long_path(source.path, config, found)
        notes += more
    return Checkpoint(
        source.path,
        files,
        "Hugging Face",
        config,
        _without_position_ids(found),
        preprocess,
        notes,
        config_file=folder / CONFIG,
        tokenizer=tokenizer,
    )


def read_files(
    path: Path,
) -> tuple[dict[str, Any], dict[str, Any] | None, TokenizerFiles | None]:
    """Return a config.json in this package's words, and what lies beside it.

    That is the content of preprocessor_config.json, None where there is none, and the tokenizer,
    None where it is CLIP's.

    Raises:
        CheckpointError: as `read_config`.
    """
    config = read_config(path)
    preprocess = _read_preprocess(path.parent)
    if config.get("layout") == siglip.LAYOUT:
        preprocess = siglip.preprocess(config, preprocess)
    if preprocess is not None and "own" in config:
        config["own"] |= {PREPROCESSOR: preprocess}
    tokenizer = _own_tokenizer(path.parent, config)
    # It is the tokenizer that pads, and its padding is read: a SigLIP 2's is 0, where its
    # config.json leaves transformers' default of 1.
    pad = tokenizer.special_id("pad") if tokenizer else None
    if config.get("layout") == siglip.LAYOUT and pad is not None:
        config["text_config"]["pad_token_id"] = pad
    return config, preprocess, tokenizer


def preprocess_file(folder: Path) -> Path:
    """Return the file that says how pictures are read; as in transformers, a processor's first."""
    path = folder / PROCESSOR
    return (
        path if path.is_file() and "image_processor" in read_json(path) else folder / PREPROCESSOR
    )


def _read_preprocess(folder: Path) -> dict[str, Any] | None:
    path = preprocess_file(folder)
    if not path.is_file():
        return None
    content = read_json(path)
    if path.name == PREPROCESSOR:
        return content
    nested = content["image_processor"]
    if not isinstance(nested, dict):
        raise CheckpointError(f"{path}: image_processor is no object; fetch the file again")
    return nested


def _own_tokenizer(folder: Path, config: Mapping[str, Any]) -> TokenizerFiles | None:
    """Return the tokenizer that lies beside a configuration, where it is not CLIP's."""
    if config.get("layout") == siglip.LAYOUT:
        return tokenizer_files(folder, siglip.cleaning(config))
    text = config.get("text_config", config)
    if not isinstance(text, Mapping) or config.get("model_type") == "clip_vision_model":
        return None
    if config.get("layout") == metaclip_2.LAYOUT:
        return tokenizer_files(folder)
    # What else it may be is refused when the network is made.
    vocabulary = text.get("vocab_size", EOT + 1)
    return tokenizer_beside(folder, vocabulary if type(vocabulary) is int else 0)


def read_config(path: Path) -> dict[str, Any]:
    """Return a config.json in this package's words.

    Raises:
        CheckpointError: as `read_json`, and if it is one of a family known here and states what
            is not.
    """
    config = read_clip_config(path)
    if config.get("model_type") == siglip.MODEL_TYPE:
        return siglip.describe(path, config)
    if config.get("model_type") in metaclip_2.MODEL_TYPES:
        return metaclip_2.describe(path, config)
    kind = config.get("model_type")
    if kind not in (*_CLIP_TYPES, None):
        reason = _REFUSED.get(str(kind), "no CLIP whose texts have a table of positions of its own")
        raise CheckpointError(
            f"{path}: model_type is {kind!r}: {reason}; `longclip eval transformers:{path.parent}` "
            "measures it as it is, where transformers embeds texts and pictures with it"
        )
    try:
        for section, rules in (("text_config", TEXT), ("vision_config", VISION)):
            if isinstance(config.get(section), Mapping):
                refuse_other_fields(config[section], {**rules, **WHOLE}, section)
        alone = {"clip_text_model": TEXT, "clip_vision_model": VISION}.get(str(kind), {})
        refuse_other_fields(config, {**alone, **WHOLE})
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return config


def _only_tensors(path: Path, values: Mapping[str, Any]) -> dict[str, Tensor]:
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name} is no tensor")
    return dict(values)


def _config_beside(source: Source) -> dict[str, Any] | None:
    """Return the config.json beside a file, if it is of a CLIP; training runs have one as well."""
    path = source.folder / CONFIG
    if not path.is_file():
        return None
    config = read_clip_config(path)
    kinds = {*_CLIP_TYPES, siglip.MODEL_TYPE, *metaclip_2.MODEL_TYPES}
    return config if config.get("model_type") in kinds or "text_config" in config else None


def _is_whole(path: Path) -> bool:
    """Return whether a file has the name that a directory's weights have."""
    return path.name in (WEIGHTS, PICKLED) or path.match(_VARIANTS)


def _without_position_ids(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the numbers 0, 1, 2 …, which older versions of transformers saved as tensors."""
    return {name: t for name, t in tensors.items() if not f".{name}".endswith(_POSITION_IDS)}


def weight_files(directory: Path) -> tuple[Path, ...]:
    """Return the files with the weights of a model directory: one, its shards, or one variant.

    Raises:
        CheckpointError: if there are none, there are variants to choose from, or the index leads
            outside.
    """
    for name in (WEIGHTS, PICKLED):
        if (directory / name).is_file():
            return (directory / name,)
        if (directory / f"{name}.index.json").is_file():
            return _shards(directory / f"{name}.index.json")
    variants = sorted(directory.glob(_VARIANTS))
    if len(variants) > 1:
        names = ", ".join(file.name for file in variants)
        raise CheckpointError(f"{directory} holds several variants ({names}); name one of them")
    if not variants:
        raise CheckpointError(
            f"{directory} has neither {WEIGHTS} nor {INDEX}; "
            "save the model with safe serialization (safetensors)"
        )
    return (variants[0],)


def _shards(index: Path) -> tuple[Path, ...]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, Mapping):
        raise CheckpointError(f"{index} has no 'weight_map' of tensors to files; fetch it again")
    names = sorted(set(map(str, weight_map.values())))
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name in names:
        # An index comes from strangers: without this it could name any file of the machine.
        if not name.endswith(suffix) or Path(name).name != name:
            raise CheckpointError(
                f"{index} names the shard {name!r}, which is not a plain {suffix} file beside "
                "it; such an index is refused"
            )
    return tuple(index.parent / name for name in names)


def read_weights(files: Iterable[Path]) -> dict[str, Any]:
    """Return what the weight files of a model directory hold, mapped into memory.

    Raises:
        CheckpointError: if a file is truncated or missing, or holds anything but tensors.
    """
    values: dict[str, Any] = {}
    for file in files:
        values |= read_safetensors(file) if file.suffix == ".safetensors" else read_torch_file(file)
    return values


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that config.json has for a dtype: `float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
