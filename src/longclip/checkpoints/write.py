"""Writing checkpoints in the layouts of the programs that load CLIPs."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import is_zipfile

import torch

from longclip.checkpoints import model_directory
from longclip.checkpoints.checkpoint import Checkpoint, lone_tower
from longclip.checkpoints.config import HEAD_WIDTH, write_json
from longclip.checkpoints.formats import huggingface as hf
from longclip.checkpoints.formats import openai, openclip, siglip
from longclip.checkpoints.formats.declip import BIAS
from longclip.checkpoints.formats.longclip import FROZEN, TRAINED
from longclip.checkpoints.formats.sentence_transformers import write_sentence_transformers_files
from longclip.checkpoints.hub import README
from longclip.checkpoints.tensor_files import (
    OnBytes,
    in_shards,
    is_safetensors,
    stored_size,
    write_safetensors,
)
from longclip.checkpoints.tokenizer_checksums import tokenizer_entries
from longclip.errors import CheckpointError
from longclip.spec import EOT, LONG_CONTEXT, ExportTarget
from longclip.text.tokenizer_directory import FILES, TokenizerFiles
from longclip.text.tokenizer_files import write_tokenizer_files
from longclip.util.files import atomic_directory, atomic_path, check_replaceable

# A directory with config.json alone may be a training run, which must not be replaced.
MODEL_MARKERS = (model_directory.WEIGHTS, model_directory.INDEX, openclip.WEIGHTS)
"""Files of which one shows that a directory is a model's."""

COMFYUI_WIDTHS = {"CLIP-L": 768, "CLIP-G": 1280}
"""Channels of the text towers that ComfyUI loads from a file of their own."""

_SECTIONS = ("text_config", "vision_config")
# Who makes the ids of texts where a layout holds no tokenizer: always CLIP's 49,408.
_CLIPS_TOKENS: dict[str, str] = {
    "openai": "OpenAI's code",
    "longclip": "Long-CLIP's code",
    "openclip": "OpenCLIP",
    "comfyui": "ComfyUI",
}
_OWN_TARGET: dict[str, ExportTarget] = {"siglip": "hf", "metaclip_2": "hf", "open_clip": "openclip"}


@dataclass(frozen=True)
class Storing:
    """Options of writing a checkpoint.

    Attributes:
        dtype: of the stored weights; None keeps theirs, and with it every bit.
        shard_bytes: size at which an hf directory begins another weight file; transformers
            has the same.
        card: text of the README.md of a directory.
        on_bytes: gets the number of bytes after each piece is written.
    """

    dtype: torch.dtype | None = None
    shard_bytes: int = 5_000_000_000
    card: str | None = None
    on_bytes: OnBytes | None = None


def write_checkpoint(
    checkpoint: Checkpoint, destination: str | Path, target: ExportTarget, storing: Storing
) -> None:
    """Write a checkpoint in another layout; whole or not at all.

    No number is touched unless a dtype is asked for, and tensors are read from the source one
    after another as they are written (for openai, queries, keys and values are all held at once).

    Args:
        checkpoint: as `open_checkpoint` returns it, with its bias folded (`fold_bias`).
        destination: a directory for hf, hf-text and openclip, a file for the others.
        target: hf: a CLIPModel, or the lone tower that the source is. hf-text: its text tower as
            CLIPTextModelWithProjection. openai: a TorchScript archive, as OpenAI's `clip.load`
            takes it. longclip: a state dict for Long-CLIP's own code. openclip: a directory for
            `local-dir:`. comfyui: one safetensors file with the text tower.
        storing: dtype and the like.

    Raises:
        CheckpointError: if the target has no place for something in the checkpoint.
        FileExistsError: if the destination is a directory that holds something else.
    """
    destination = Path(destination)
    _refuse_loss(checkpoint, target)
    if target in ("openai", "longclip", "comfyui"):
        if destination.is_dir():
            raise FileExistsError(f"{destination} is a directory, and --to {target} writes a file")
        if destination.exists() and not (is_safetensors(destination) or is_zipfile(destination)):
            raise FileExistsError(
                f"{destination} exists and is no checkpoint, so it is not overwritten; name a new "
                "file"
            )
    if target in ("hf-text", "comfyui"):
        checkpoint = lone_tower(checkpoint, "text")
    if target in ("hf", "hf-text"):
        write_huggingface(
            destination,
            checkpoint.tensors,
            checkpoint.config,
            checkpoint.preprocess,
            storing,
            checkpoint.tokenizer,
        )
    elif target == "openclip" and checkpoint.config.get("layout") == "open_clip":
        _write_own_openclip(
            destination, checkpoint.tensors, checkpoint.config, storing, checkpoint.tokenizer
        )
    elif target == "openclip":
        renamed = openai.from_huggingface(checkpoint.tensors)
        config = openclip.write_config(checkpoint.config, checkpoint.preprocess or {})
        refuse_foreign(destination)
        with atomic_directory(destination, marker=MODEL_MARKERS) as new:
            write_safetensors(new / openclip.WEIGHTS, renamed, storing.dtype, storing.on_bytes)
            write_json(new / openclip.CONFIG, config)
            if storing.card:
                (new / README).write_text(storing.card, encoding="utf-8")
    elif target == "openai":
        _write_openai(destination, checkpoint, storing)
    elif target == "longclip":
        _write_longclip(destination, checkpoint, storing)
    else:
        with atomic_path(destination) as new:
            write_safetensors(new, checkpoint.tensors, storing.dtype, storing.on_bytes)


def write_huggingface(
    directory: str | Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    preprocess: Mapping[str, Any] | None,
    storing: Storing,
    tokenizer: TokenizerFiles | None = None,
) -> None:
    """Write a model directory, in the layout of transformers that the configuration names.

    Where there is a text tower it gets the files of a tokenizer, for transformers, and those that
    sentence-transformers wants.

    Args:
        directory: its path; replaced only where it holds a model already.
        tensors: under this package's names; each is read once or twice, one after another.
        config: in this package's words (`CLIPConfig.to_json`).
        preprocess: content of preprocessor_config.json; None for a lone text tower.
        storing: dtype and the like.
        tokenizer: files of the model's own tokenizer; None where it is CLIP's.

    Raises:
        CheckpointError: if it is a tower that only a whole model in its own layout has a place for.
        FileExistsError: if the directory holds something else.
    """
    layout = config.get("layout", "clip")
    if not config.get("own"):
        unusual = _beyond_clip(config)
        if tokenizer and {"lower", "canonicalize"} & {*tokenizer.cleaning}:
            unusual.append("texts that are lower-cased or stripped of punctuation first")
        if unusual:
            raise CheckpointError(
                f"{directory} cannot be written: transformers' CLIP has no place for {unusual[0]}; "
                "save the whole model, which keeps the layout it came in"
            )
        # One tower of a model in another layout may be like CLIP's.
        layout = "clip"
        config = {name: value for name, value in config.items() if name != "layout"}
    if layout == "open_clip":
        _write_own_openclip(Path(directory), tensors, config, storing, tokenizer)
        return
    numbers = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    stored = storing.dtype or numbers
    text = config if "max_position_embeddings" in config else config.get("text_config")
    if layout != "clip":
        own = own_files(config, int(text["max_position_embeddings"]) if text else None)
        preprocess = own.get(model_directory.PREPROCESSOR, preprocess)
        config = own[model_directory.CONFIG]
        if layout == siglip.LAYOUT:
            tensors = siglip.from_internal(tensors)
    refuse_foreign(Path(directory))
    own_tokenizer = (
        tokenizer.contents_for(int(text["max_position_embeddings"])) if (text and tokenizer) else {}
    )
    with atomic_directory(directory, marker=MODEL_MARKERS) as new:
        shards = list(in_shards(tensors, storing.dtype, storing.shard_bytes))
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
            name = model_directory.WEIGHTS if len(shards) == 1 else name
            metadata = tokenizer_entries(own_tokenizer)
            write_safetensors(new / name, shard, storing.dtype, storing.on_bytes, metadata)
            weight_map |= dict.fromkeys(shard, name)
        if len(shards) > 1:
            size = sum(stored_size(tensor, storing.dtype) for tensor in tensors.values())
            index = {"metadata": {"total_size": size}, "weight_map": weight_map}
            write_json(new / model_directory.INDEX, index)
        write_json(new / model_directory.CONFIG, {**config, "dtype": hf.dtype_name(stored)})
        if preprocess is not None:
            write_json(new / model_directory.PREPROCESSOR, preprocess)
        if text:
            for name, content in own_tokenizer.items():
                (new / name).write_bytes(content)
            if not tokenizer and text.get("vocab_size", EOT + 1) > EOT:
                write_tokenizer_files(new, int(text["max_position_embeddings"]))
            write_sentence_transformers_files(new, config, tensors, storing.dtype)
        if storing.card:
            (new / README).write_text(storing.card, encoding="utf-8")


def _write_own_openclip(
    directory: Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    storing: Storing,
    tokenizer: TokenizerFiles | None,
) -> None:
    """Write a model that keeps OpenCLIP's layout."""
    context = int(config["text_config"]["max_position_embeddings"])
    own_tokenizer = tokenizer.contents_for(context) if tokenizer else {}
    metadata = tokenizer_entries(own_tokenizer)
    refuse_foreign(directory)
    with atomic_directory(directory, marker=MODEL_MARKERS) as new:
        named = openclip.from_internal(tensors, config)
        write_safetensors(new / openclip.WEIGHTS, named, storing.dtype, storing.on_bytes, metadata)
        for name, content in own_files(config, context).items():
            write_json(new / name, content)
        for name, words in own_tokenizer.items():
            (new / name).write_bytes(words)
        if storing.card:
            (new / README).write_text(storing.card, encoding="utf-8")


def own_files(config: Mapping[str, Any], context_length: int | None) -> dict[str, dict[str, Any]]:
    """Return the configuration files of a model's own layout, by their names.

    They are those that were read, for another number of tokens where there is a text tower.
    """
    files: dict[str, dict[str, Any]] = copy.deepcopy(dict(config["own"]))
    if context_length is None:
        return files
    if model_directory.CONFIG in files:
        whole = files[model_directory.CONFIG]
        whole.get("text_config", whole)["max_position_embeddings"] = context_length
    else:
        described = files[openclip.CONFIG]
        described.get("model_cfg", described)["text_cfg"]["context_length"] = context_length
    return files


# What a model directory holds that was written here.
_OWN_FILES = re.compile(
    r"(open_clip_)?config\.json|open_clip_model\.safetensors|preprocessor_config\.json|"
    r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?|modules\.json|sentence_bert_config\.json|README\.md|1_Pooling|2_Dense|"
    + "|".join(map(re.escape, FILES))
)


def refuse_foreign(directory: Path) -> None:
    """Refuse to replace a directory that holds no model, or more than one: the rest would be gone.

    Args:
        directory: which need not exist.

    Raises:
        FileExistsError: says what it lacks, or names some of the other files.
    """
    check_replaceable(directory, MODEL_MARKERS)
    if not directory.exists():
        return
    other = sorted(p.name for p in directory.iterdir() if not _OWN_FILES.fullmatch(p.name))
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise FileExistsError(
            f"{directory} holds {', '.join(other[:3])}{more} beside a model, which would be "
            "removed with it, so it is not overwritten; name a new directory or move the files"
        )


def _write_openai(path: Path, checkpoint: Checkpoint, storing: Storing) -> None:
    text, vision = checkpoint.config["text_config"], checkpoint.config["vision_config"]
    entries = {
        "input_resolution": torch.tensor(vision["image_size"]),
        "context_length": torch.tensor(text["max_position_embeddings"]),
        "vocab_size": torch.tensor(text["vocab_size"]),
    }
    with atomic_path(path) as new:
        openai.write_archive(new, _openai_tensors(checkpoint, storing) | entries)
        if storing.on_bytes:
            storing.on_bytes(new.stat().st_size)


def _write_longclip(path: Path, checkpoint: Checkpoint, storing: Storing) -> None:
    tensors = _openai_tensors(checkpoint, storing)
    # Its code adds rows 0 to 19 of the one table and the others of the second.
    tensors[TRAINED] = tensors[FROZEN]
    with atomic_path(path) as new, new.open("wb") as file:
        counted = _Counted(file, storing.on_bytes) if storing.on_bytes else file
        torch.save(tensors, cast(BinaryIO, counted))


def _openai_tensors(checkpoint: Checkpoint, storing: Storing) -> dict[str, torch.Tensor]:
    """Return all tensors under OpenAI's names, none a part of a larger one.

    Torch writes the whole memory that a tensor is a part of. Those that are alone in theirs, as in
    a mapped file, stay where they are.
    """

    def alone(tensor: torch.Tensor) -> torch.Tensor:
        stored = tensor.to(storing.dtype or tensor.dtype).contiguous()
        return stored if stored.untyped_storage().nbytes() == stored.nbytes else stored.clone()

    named = openai.from_huggingface(checkpoint.tensors)
    return {name: alone(tensor) for name, tensor in named.items()}


class _Counted:
    """File that reports the number of bytes of each write."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file, self._on_bytes = file, on_bytes
        self.flush = file.flush

    def write(self, data: bytes) -> int:
        self._on_bytes(len(data))
        return self._file.write(data)


def _refuse_loss(checkpoint: Checkpoint, target: ExportTarget) -> None:
    """Refuse a checkpoint that would mean something else in the other layout.

    Raises:
        CheckpointError: if `target` cannot express something in the checkpoint.
    """
    source, config = checkpoint.path, checkpoint.config
    whole = checkpoint.has("text") and checkpoint.has("image")
    _refuse_other_layout(checkpoint, target)
    if config.get("layout", "clip") != "clip" and target not in ("hf-text", "comfyui"):
        return
    if checkpoint.tokenizer and target in _CLIPS_TOKENS:
        raise CheckpointError(
            f"{source} has a vocabulary of its own, and {_CLIPS_TOKENS[target]} gives every model "
            f"the ids of CLIP's tokenizer: in what --to {target} writes, texts would mean "
            "something else; --to hf and --to hf-text write the tokenizer beside the weights"
        )
    assert BIAS not in checkpoint.tensors, "fold_bias first"
    if target in ("openai", "longclip", "openclip") and not whole:
        raise CheckpointError(
            f"{source} is one tower alone and {target} takes both; write it with --to hf"
        )
    if target in ("hf-text", "comfyui") and not checkpoint.has("text"):
        raise CheckpointError(f"{source} has no text tower to write with --to {target}")
    if target in ("openai", "longclip"):
        code = "OpenAI's code" if target == "openai" else "Long-CLIP's code"
        context = config["text_config"]["max_position_embeddings"]
        if target == "longclip" and context != LONG_CONTEXT:
            raise CheckpointError(
                f"{source} reads {context} tokens and Long-CLIP's code {LONG_CONTEXT}, no more and "
                "no less; lengthen it (longclip stretch) or write it with --to openai"
            )
        for section in _SECTIONS:
            tower = config[section]
            if _activation(tower) != "quick_gelu":
                raise CheckpointError(
                    f"{source} computes {_activation(tower)} and {code} knows quick_gelu "
                    "alone; write it with --to openclip"
                )
            _check_heads(source, section, tower, code, "openclip")
            width, inner = tower["hidden_size"], tower["intermediate_size"]
            if inner != 4 * width:
                raise CheckpointError(
                    f"{source} has layers {inner} wide inside for a width of {width} ({section}), "
                    f"and {code} takes four times the width; write it with --to openclip"
                )
    elif target == "openclip":
        if len({_activation(config[section]) for section in _SECTIONS}) > 1:
            raise CheckpointError(
                f"{source} has quick_gelu in one tower and gelu in the other, and OpenCLIP one for "
                "both; write it with --to hf"
            )
    elif target == "comfyui":
        # ComfyUI takes a text tower's activation from its depth.
        tower = config.get("text_config", config)
        layers = tower["num_hidden_layers"]
        kind = "CLIP-G" if layers > 30 else "CLIP-H" if layers > hf.MAX_CLIP_L_LAYERS else "CLIP-L"
        expected = "quick_gelu" if kind == "CLIP-L" else "gelu"
        if _activation(tower) != expected:
            raise CheckpointError(
                f"{source} computes {_activation(tower)}, and ComfyUI takes {layers} layers for a "
                f"{kind}, which computes {expected}; write it with --to hf-text for programs that "
                "read config.json"
            )
        _check_heads(source, "text_config", tower, "ComfyUI", "hf-text")
        width, expected_width = tower["hidden_size"], COMFYUI_WIDTHS.get(kind)
        if expected_width is None:
            raise CheckpointError(
                f"{source} has {layers} layers, which ComfyUI takes for a {kind}, and loads as a "
                "CLIP-L of another width; write it with --to hf-text for programs that read "
                "config.json"
            )
        if width != expected_width:
            raise CheckpointError(
                f"{source} is {width} wide, and ComfyUI takes {layers} layers for a {kind}, which "
                f"is {expected_width} wide, and refuses others; write it with --to hf-text for "
                "programs that read config.json"
            )


def _beyond_clip(config: Mapping[str, Any]) -> list[str]:
    """Return what a configuration states that transformers' CLIP computes otherwise."""
    text, vision = (config.get(section, config) for section in _SECTIONS)
    pooled = {"last": "at their last position", "first": "at their first position"}
    found = []
    if "owner" in vision:
        found.append(f"an image tower of {vision['owner']}")
    if not text.get("causal", True):
        found.append("a text tower without causal mask")
    if "pooling" in text:
        found.append(f"texts that are read {pooled.get(text['pooling'], 'at such an end')}")
    if not config.get("text_projection", True):
        found.append("texts without projection")
    if config.get("logit_bias"):
        found.append("a bias of similarities")
    return found


def _refuse_other_layout(checkpoint: Checkpoint, target: ExportTarget) -> None:
    """Refuse a model that keeps a layout of its own, unless the target has a place for all of it.

    Raises:
        CheckpointError: says for what it has none.
    """
    config = checkpoint.config
    own = _OWN_TARGET.get(config.get("layout", "clip"))
    if own is None or target == own:
        return
    texts_alone = target in ("hf-text", "comfyui")
    described = lone_tower(checkpoint, "text").config if texts_alone else config
    if target == "hf-text" and described.get("own"):
        return  # transformers knows that tower alone, too
    unusual = _beyond_clip(described)
    if checkpoint.tokenizer and target != "hf-text":
        unusual.append("a vocabulary of its own")
    if texts_alone and not unusual:
        return
    raise CheckpointError(
        f"{checkpoint.path} has {', '.join(unusual) or 'settings of its own'}, for which "
        f"--to {target} has no place; write it with --to {own}"
    )


def _check_heads(
    source: Path, section: str, tower: Mapping[str, Any], program: str, alternative: str
) -> None:
    width, heads = tower["hidden_size"], tower["num_attention_heads"]
    if width != heads * HEAD_WIDTH:
        raise CheckpointError(
            f"{source} has {heads} heads in {width} channels ({section}) and {program} takes heads "
            f"{HEAD_WIDTH} wide; write it with --to {alternative}"
        )


def _activation(tower: Mapping[str, Any]) -> str:
    return str(tower.get("hidden_act", "quick_gelu"))
