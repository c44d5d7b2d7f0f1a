"""The little that an evaluation asks of a model."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import EncoderError

Rows: TypeAlias = torch.Tensor | NDArray[np.floating[Any]]
"""[N, D] of any floating-point type, on any device, not necessarily of length one."""


class Encoder(Protocol):
    """Two towers into one space. `longclip.CLIP` is one; so is anything with these three names.

    Read where an encoder has them:

    - `name: str` is what errors call it; else the name of its class.
    - `fingerprint: str` is the identity of its weights and settings. Embeddings are kept in an
      `EmbeddingCache` only under a fingerprint: whatever changes an embedding must change it.
    - `device`: where similarities are to be computed; else the CPU.
    - `prepare(image)` turns one picture into what `encode_image` is handed in its place. It is
      called in the threads that decode pictures, so resizing there costs the model no time.
    """

    @property
    def context_length(self) -> int | None:
        """Tokens per text, BOS and EOT among them; longer texts are cut. None: no known limit."""
        ...

    def encode_text(self, texts: Sequence[str], /) -> Rows:
        """Strings to [N, D]."""
        ...

    def encode_image(self, images: Sequence[Image.Image], /) -> Rows:
        """RGB pictures of any size to [N, D]."""
        ...


def encoder_name(encoder: Encoder) -> str:
    """What to call it in errors."""
    return str(getattr(encoder, "name", "") or type(encoder).__name__)


def fingerprint_of(encoder: Encoder) -> str:
    """The identity of its weights and settings; empty where it has none."""
    return str(getattr(encoder, "fingerprint", "") or "")


def ranking_device(encoder: Encoder) -> torch.device:
    """Where its embeddings are compared: its own device, where ranking in float64 works there."""
    device = torch.device(getattr(encoder, "device", None) or "cpu")
    return torch.device("cpu") if device.type == "mps" else device


def checked_rows(encoder: Encoder, rows: Rows, items: Sequence[str]) -> NDArray[np.float32]:
    """As float32 [len(items), D] in main memory; `items` says in errors what was embedded."""
    name = encoder_name(encoder)
    if not isinstance(rows, torch.Tensor):
        array = np.asarray(rows)
        # Torch takes only arrays of the machine's byte order.
        rows = torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)
    if rows.ndim != 2 or len(rows) != len(items) or not rows.is_floating_point():
        raise EncoderError(
            f"{name} gives {rows.dtype} {list(rows.shape)} for {len(items)} inputs; an encoder "
            f"gives one row of floating-point numbers per input: [{len(items)}, D]"
        )
    rows = rows.detach().to("cpu", torch.float32)
    bad = (~rows.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise EncoderError(
            f"{name}: the embedding of {items[bad[0]]} is not finite (row {bad[0]}, one of "
            f"{len(bad)} of {len(rows)}); look for a broken checkpoint or an overflow in half "
            "precision"
        )
    return rows.numpy()
