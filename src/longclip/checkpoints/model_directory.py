"""Model directories in Hugging Face's layout: what lies beside the weights, and in which files.

No tensors and no torch here: a search from the shell reads a model without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longclip.checkpoints.config import read_clip_config, read_json
from longclip.checkpoints.fields import (
    HOW_ARRAYS_COME,
    TEXT,
    VISION,
    WHOLE,
    check_fields,
    refuse_other_fields,
)
from longclip.checkpoints.fields import PREPROCESSOR as PREPROCESSOR_FIELDS
from longclip.checkpoints.formats import metaclip_2, siglip
from longclip.errors import CheckpointError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.spec import EOT
from longclip.text.tokenizer_directory import TokenizerFiles, tokenizer_beside, tokenizer_files

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Where transformers 5 writes the preprocessing of a processor: under image_processor."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
VARIANTS = "model.*.safetensors"
"""Diffusion pipelines may hold model.fp16.safetensors alone."""

CLIP_TYPES = ("clip", "clip_text_model", "clip_vision_model")
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


def is_timms(config: Path) -> bool:
    """Return whether a config.json is timm's: of an image tower, beside the CLIP it comes from."""
    try:
        content = read_json(config)
    except CheckpointError:
        return False
    return "architecture" in content and "model_type" not in content


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


def make_preprocess(content: Mapping[str, Any], config_file: Path, size: int) -> Preprocess:
    """Read the preprocessing that lies beside a configuration, for pictures of that size."""
    path = preprocess_file(config_file.parent)
    try:
        if str(content.get("image_processor_type")).startswith(("Siglip", "ViT")):
            # They save null for what they do not do, a crop among it.
            content = {name: value for name, value in content.items() if value is not None}
        check_fields(content, PREPROCESSOR_FIELDS)
        # A switch that is off asks for nothing.
        stated = {
            name: value
            for name, value in content.items()
            if value is not False and name not in HOW_ARRAYS_COME
        }
        refuse_other_fields(stated, PREPROCESSOR_FIELDS)
        found = Preprocess.from_json(content)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is not CLIP's preprocessing: {error}") from error
    if found.image_size != size:
        raise CheckpointError(
            f"{path} makes pictures of {found.image_size} pixels, {CONFIG} says {size}; correct "
            "the one that is wrong"
        )
    return found


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
    if kind not in (*CLIP_TYPES, None):
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
            return shards(directory / f"{name}.index.json")
    variants = sorted(directory.glob(VARIANTS))
    if len(variants) > 1:
        names = ", ".join(file.name for file in variants)
        raise CheckpointError(f"{directory} holds several variants ({names}); name one of them")
    if not variants:
        raise CheckpointError(
            f"{directory} has neither {WEIGHTS} nor {INDEX}; "
            "save the model with safe serialization (safetensors)"
        )
    return (variants[0],)


def shards(index: Path) -> tuple[Path, ...]:
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
