"""A path that may hold a checkpoint, before anybody knows in which format."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from longclip.checkpoints.formats.safetensors import is_safetensors, read_safetensors
from longclip.checkpoints.formats.torchscript import read_torch_file
from longclip.errors import CheckpointError
from longclip.spec import Activation

NUMBERS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries of OpenAI's files that are plain numbers; no other program writes them."""

# Where training programs keep the weights inside a checkpoint.
_WEIGHT_ENTRIES = ("state_dict", "model", "model_state_dict")


class Source:
    """A path, what lies there, and what the caller knows about it.

    Args:
        path: a file or a directory.
        activation: activation of the towers, where the caller names it.
    """

    def __init__(self, path: Path, activation: Activation | None = None) -> None:
        self.path = path
        self.activation = activation

    def has_file(self, *names: str) -> bool:
        """Return whether the path is a directory with a file of one of these names."""
        return any((self.path / name).is_file() for name in names)

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensors of the file under its own names, mapped into memory; none of a directory.

        Raises:
            CheckpointError: if the file is broken or holds no tensors.
        """
        return {} if self.path.is_dir() else read_tensors(self.path)

    def refuse_activation(self) -> None:
        """Refuse the caller's activation for a directory that has a configuration.

        Raises:
            CheckpointError: if the caller named one.
        """
        if self.activation:
            raise CheckpointError(
                f"{self.path} says its activation in its configuration; leave out --activation, "
                "which is for files of bare weights"
            )

    @property
    def usual_activation(self) -> Activation:
        """GELU, which OpenCLIP trains with, unless the file's name is that of an OpenAI model."""
        name = self.path.name.lower()
        return "quick_gelu" if "quickgelu" in name or "openai" in name else "gelu"

    def settle_activation(self, guess: Activation) -> tuple[Activation, tuple[str, ...]]:
        """Return the caller's activation, or `guess` with a note that it is one."""
        if self.activation:
            return self.activation, ()
        return guess, (
            f"the activation is not in the file; {guess} was assumed, --activation decides "
            "otherwise",
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file, and OpenAI's numbers as tensors.

    Raises:
        CheckpointError: if the file cannot be read or holds no tensors.
    """
    try:
        if is_safetensors(path) or path.suffix == ".safetensors":
            return read_safetensors(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    values = read_torch_file(path)
    for name in _WEIGHT_ENTRIES:
        if isinstance(values.get(name), Mapping):
            values = {str(key): value for key, value in values[name].items()}
    tensors = {
        # DistributedDataParallel, which many trained in, calls every model `module`.
        name.removeprefix("module."): value if isinstance(value, Tensor) else torch.tensor(value)
        for name, value in values.items()
        if isinstance(value, Tensor) or name in NUMBERS
    }
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors, only {', '.join(list(values)[:5])}")
    return tensors
