"""Encoder protocol: two towers into one space, whatever computes them."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import EncoderError
from longclip.text.tokenizer import TextEncoding, TextTokenizer, clip_tokenizer

if TYPE_CHECKING:
    import torch

Rows: TypeAlias = Union["torch.Tensor", NDArray[np.floating[Any]]]
"""[N, D] of any floating-point type, on any device, not necessarily of length one."""


class Encoder(Protocol):
    """Two towers into one space. `longclip.CLIP` is one; so is anything with these three names.

    Read where an encoder has them:

    - `name: str` is what errors call it; else the name of its class.
    - `fingerprint: str` is the identity of its weights and settings. Embeddings are kept in an
      `EmbeddingCache` only under a fingerprint: whatever changes an embedding must change it.
    - `tokenizer: TextTokenizer` tells which texts it cuts, and which details it therefore does not
      read; else CLIP's tokens stand for its own. Where it is None, nothing is said of either.
    - `device`: where similarities are to be computed; else the CPU.
    - `prepare(image)` turns one picture into what `encode_image` is handed in its place. It is
      called in the threads that decode pictures, so resizing there costs the model no time.
    """

    @property
    def context_length(self) -> int | None:
        """Tokens per text, BOS and EOT included; longer texts are cut. None: no known limit."""
        ...

    def encode_text(self, texts: Sequence[str], /) -> Rows:
        """Embed strings: [N, D]."""
        ...

    def encode_image(self, images: Sequence[Image.Image], /) -> Rows:
        """Embed RGB pictures of any size: [N, D]."""
        ...


def encoder_name(encoder: Encoder) -> str:
    """Return the name of an encoder in errors."""
    return str(getattr(encoder, "name", "") or type(encoder).__name__)


def tokenizer_of(encoder: Encoder) -> TextEncoding | None:
    """Return what tells which texts an encoder reads whole; CLIP's tokenizer where it has none.

    None where it is not known how the encoder's own library makes tokens.
    """
    own = getattr(encoder, "tokenizer", clip_tokenizer())
    # Encoders of others may hold something else under that name.
    known = own is None or isinstance(own, TextTokenizer | LibraryTokenizer)
    return own if known else clip_tokenizer()


def checked_rows(encoder: Encoder, rows: Rows, items: Sequence[str]) -> NDArray[np.float32]:
    """Return float32 [len(items), D] in main memory; errors name one of `items`."""
    name = encoder_name(encoder)
    kind = getattr(rows, "dtype", None)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(rows, torch.Tensor):
        tensor = rows.detach().cpu()
        rows = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(rows)
    if array.ndim != 2 or len(array) != len(items) or array.dtype.kind != "f":
        raise EncoderError(
            f"{name} gives {kind or array.dtype} {list(array.shape)} for {len(items)} inputs; an "
            f"encoder gives one row of floating-point numbers per input: [{len(items)}, D]"
        )
    with np.errstate(over="ignore"):  # becomes infinite, which is told below
        array = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(1)).tolist()
    if bad:
        raise EncoderError(
            f"{name}: the embedding of {items[bad[0]]} is not finite (row {bad[0]}, one of "
            f"{len(bad)} of {len(array)}); look for a broken checkpoint or an overflow in half "
            "precision"
        )
    return array


Ids = list[list[int]]


class LibraryTokenizer:
    """A library's own tokenizer, by which it is told which texts its encoder cuts.

    Args:
        ids: of texts, without padding or all padded alike; whole where the length is None.
    """

    def __init__(self, ids: Callable[[list[str], int | None], Ids]) -> None:
        self._ids = ids

    def encode(self, texts: Sequence[str], *, context_length: int | None = None) -> Ids:
        """Return one list of ids per text, cut by the library where a length is given."""
        return [list(map(int, ids)) for ids in self._ids(list(texts), context_length)]
