"""Formats of checkpoints, each a module that knows the models of one family of programs.

`open_checkpoint` finds the one that reads a path. `sentence_transformers` reads nothing: it writes
what that library wants beside a model's own files.
"""

from pathlib import Path
from typing import Protocol

from longclip.checkpoints.checkpoint import Checkpoint, Source
from longclip.checkpoints.formats import declip, huggingface, longclip, openai, openclip
from longclip.errors import CheckpointError
from longclip.spec import Activation

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".tar", ".ckpt")
"""Endings of files that are taken for weights in a directory of no known layout."""


class Format(Protocol):
    """A module of `formats/` that reads the checkpoints of one family of programs."""

    def recognise(self, source: Source) -> bool:
        """Return whether the source is in this format, by its file names or tensor names."""

    def open(self, source: Source) -> Checkpoint:
        """Read it; raises CheckpointError where it is broken or no CLIP with ViT towers."""


# The first that recognises a source reads it. OpenCLIP comes last because it takes every file that
# is left: its bare weights have OpenAI's names and nothing of their own.
FORMATS: tuple[Format, ...] = (huggingface, declip, longclip, openai, openclip)


def open_checkpoint(path: Path, activation: Activation | None = None) -> Checkpoint:
    """Read a checkpoint of any format that can be recognised by its content.

    Args:
        path: a file, or a directory in Hugging Face's or OpenCLIP's layout or with one weight file.
        activation: activation of the towers' hidden layers, for bare weights that do not say.

    Raises:
        CheckpointError: if it is no CLIP with ViT towers, is broken, or has tensors that mean
            nothing here; these are listed.
    """
    if path.suffix == ".json" and not path.is_dir():
        raise CheckpointError(f"{path} is a configuration; name its directory to load the model")
    source = Source(path, activation)
    for model_format in FORMATS:
        if model_format.recognise(source):
            return model_format.open(source)
    # A file is always recognised, so this is a directory in no layout of ours.
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if len(files) == 1:
        return open_checkpoint(files[0], activation)
    if files:
        names = ", ".join(file.name for file in files)
        raise CheckpointError(f"{path} holds several weight files ({names}); name one of them")
    raise CheckpointError(
        f"{path} holds no weights: neither {huggingface.WEIGHTS} nor any other "
        f"{', '.join(_SUFFIXES)} file; fetch the model again"
    )
