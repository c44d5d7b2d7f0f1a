"""Opening of a checkpoint by the module of `formats/` that recognises its content."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.formats import declip, huggingface, longclip, openai, openclip, resnet
from longclip.checkpoints.formats.sentence_transformers import OLD_FOLDER
from longclip.checkpoints.model_directory import WEIGHTS
from longclip.errors import CheckpointError
from longclip.spec import EOT, Activation
from longclip.text.tokenizer_directory import tokenizer_beside

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".tar", ".ckpt")
"""Endings of files that are taken for weights in a directory of no known layout."""

_SHARD = re.compile(r"-\d+-of-0*([2-9]|[1-9]\d+)\.(?:safetensors|bin)$")


class Format(Protocol):
    """A module of `formats/` that reads the checkpoints of one family of programs."""

    def recognise(self, source: Source) -> bool:
        """Return whether the source is in this format, by its file names or tensor names."""

    def open(self, source: Source) -> Checkpoint:
        """Read it; raises CheckpointError where it is broken or no CLIP with ViT towers."""


# The first that recognises a source reads it. OpenCLIP comes last because it takes every file that
# is left: its bare weights have OpenAI's names and nothing of their own.
FORMATS: tuple[Format, ...] = (huggingface, declip, longclip, resnet, openai, openclip)


def open_checkpoint(
    path: Path, activation: Activation | None = None, part: str | None = None
) -> Checkpoint:
    """Read a checkpoint of any format that can be recognised by its content.

    Args:
        path: a file, or a directory in Hugging Face's or OpenCLIP's layout or with one weight file.
            A file is read with the configuration that lies beside it.
        activation: activation of the towers' hidden layers, for bare weights that do not say.
        part: which of the text towers in a single-file diffusion checkpoint, as diffusers calls
            them: text_encoder, text_encoder_2.

    Raises:
        CheckpointError: if it is no CLIP with ViT towers, is broken, or has tensors that mean
            nothing here; these are listed.
    """
    if path.suffix == ".json" and not path.is_dir():
        if path.name.endswith(".index.json"):
            return huggingface.open_shards(Source(path, activation))
        raise CheckpointError(f"{path} is a configuration; name its directory to load the model")
    if match := _SHARD.search(path.name):
        raise CheckpointError(
            f"{path} is one of {int(match[1])} parts of a model; name their directory, "
            f"{path.parent}"
        )
    source = Source(path, activation, part)
    for model_format in FORMATS:
        if model_format.recognise(source):
            found = model_format.open(source)
            notes = (*source.notes, *found.notes, *([found.assumed] if found.assumed else []))
            return _without_temperature(_with_vocabulary(replace(found, notes=notes), source))
    # A file is always recognised, so this is a directory in no layout of ours.
    if (path / OLD_FOLDER).is_dir():
        return open_checkpoint(path / OLD_FOLDER, activation)
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if len(files) == 1:
        return open_checkpoint(files[0], activation)
    if files:
        names = ", ".join(file.name for file in files)
        raise CheckpointError(f"{path} holds several weight files ({names}); name one of them")
    raise CheckpointError(
        f"{path} holds no weights: neither {WEIGHTS} nor any other "
        f"{', '.join(_SUFFIXES)} file; fetch the model again"
    )


def _with_vocabulary(checkpoint: Checkpoint, source: Source) -> Checkpoint:
    """Give bare weights of another vocabulary than CLIP's the tokenizer that lies beside them."""
    if checkpoint.config_file or not checkpoint.has("text"):
        return checkpoint
    vocabulary = checkpoint.config.get("text_config", checkpoint.config)["vocab_size"]
    if vocabulary == EOT + 1:
        return checkpoint
    assumed = (
        f"its vocabulary of {vocabulary:,} tokens is not CLIP's; how its texts are cleaned and "
        "where they end was guessed, which a configuration beside the weights would say"
    )
    return replace(
        checkpoint,
        tokenizer=tokenizer_beside(source.folder, vocabulary),
        notes=(*checkpoint.notes, assumed),
        assumed=f"{checkpoint.assumed}; {assumed}" if checkpoint.assumed else assumed,
    )


def _without_temperature(checkpoint: Checkpoint) -> Checkpoint:
    """Leave out the temperature of a lone tower, which ComfyUI and others save beside it."""
    whole = checkpoint.has("text") and checkpoint.has("image")
    if whole or "logit_scale" not in checkpoint.tensors:
        return checkpoint
    tensors = {n: t for n, t in checkpoint.tensors.items() if n != "logit_scale"}
    note = "logit_scale is left out: it belongs to two towers, and this is one"
    return replace(checkpoint, tensors=tensors, notes=(*checkpoint.notes, note))
