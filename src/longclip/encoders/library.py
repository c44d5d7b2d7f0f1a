"""What the encoders of other libraries share: imports, errors, texts in batches."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from longclip.errors import EncoderError

if TYPE_CHECKING:
    import torch


def import_library(name: str, *, install: str) -> Any:
    """Import an optional library, or raise an EncoderError with what to install."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a torchvision for another torch raises RuntimeError
        raise EncoderError(
            f"{name} cannot be imported ({_first_line(error)}); pip install {install}"
        ) from error


@contextmanager
def loading_errors(spec: str, *, hint: str) -> Iterator[None]:
    """Turn whatever a library raises while it loads `spec` into an EncoderError."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:  # each library and version fails in its own ways
        raise EncoderError(f"{spec} cannot be opened: {_first_line(error)}; {hint}") from error


def embed_by_length(
    texts: Sequence[str], batch_size: int, embed: "Callable[[list[str]], torch.Tensor]"
) -> "torch.Tensor":
    """Embed texts in batches of about the same length: [N, D] in the order of `texts`."""
    import torch

    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [
        embed([texts[i] for i in order[start : start + batch_size]])
        for start in range(0, len(order), batch_size)
    ]
    return torch.cat(parts)[torch.tensor(order).argsort().to(parts[0].device)]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
