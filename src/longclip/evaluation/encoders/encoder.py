"""Encoder protocol, a CLIP of ours as an encoder, and opening of any encoder by its name."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from importlib.metadata import EntryPoint
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from longclip import __version__
from longclip.errors import EncoderError
from longclip.evaluation.encoders.library_encoders import (
    LibraryTokenizer,
    loading_errors,
    open_open_clip,
    open_sentence_transformers,
    open_transformers,
)
from longclip.evaluation.encoders.precomputed import PrecomputedEncoder
from longclip.model import CLIP, load
from longclip.model.identity import encoder_fingerprint
from longclip.text.tokenizer import TextEncoding, TextTokenizer, clip_tokenizer
from longclip.util.plugins import ENCODERS, plugins

Rows: TypeAlias = torch.Tensor | NDArray[np.floating[Any]]
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


def ranking_device(encoder: Encoder) -> torch.device:
    """Return where embeddings are compared: the encoder's device, unless it lacks float64 (MPS)."""
    device = torch.device(getattr(encoder, "device", None) or "cpu")
    return torch.device("cpu") if device.type == "mps" else device


def checked_rows(encoder: Encoder, rows: Rows, items: Sequence[str]) -> NDArray[np.float32]:
    """Return float32 [len(items), D] in main memory; errors name one of `items`."""
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


class CLIPEncoder:
    """A `longclip.CLIP` whose weights will not change any more."""

    def __init__(self, model: CLIP, name: str) -> None:
        self.model = model
        self.name = name

    @property
    def context_length(self) -> int:
        """Tokens that the model reads."""
        return self.model.context_length

    @property
    def tokenizer(self) -> TextTokenizer:
        """Tokenizer of the model, by which it is counted which texts are cut."""
        return self.model.tokenizer

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights and settings, computed on first use."""
        settings = {
            "library": f"longclip {__version__}",
            "config": self.model.config.to_json(),
            "preprocess": self.model.preprocess.to_json(),
        }
        if self.model.tokenizer_files:
            settings["tokenizer"] = self.model.tokenizer_files.tokenizer.digest
        tokens = partial(self.model.token_ids, warn=False)
        return encoder_fingerprint(self.model, settings, tokens, self.prepare)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop a picture: uint8 [image_size, image_size, 3]."""
        return self.model.preprocess.pixels(image)

    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """Embed texts: float32 [N, D]."""
        return self.model.encode_text(texts)

    def encode_image(self, images: Sequence[Image.Image | NDArray[np.uint8]], /) -> torch.Tensor:
        """Embed pictures, or what `prepare` made of them: float32 [N, D]."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        return self.model.encode_pixels(torch.from_numpy(np.stack(rows)))


_LIBRARIES: dict[str, Callable[..., Encoder]] = {
    "transformers": open_transformers,
    "open_clip": open_open_clip,
    "sentence-transformers": open_sentence_transformers,
}
_ARRAYS = "npy"


def open_encoder(
    spec: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    batch_size: int = 64,
) -> Encoder:
    """Open an encoder.

    Args:
        spec: what `longclip.load` takes; or `transformers:NAME_OR_DIRECTORY`,
            `open_clip:ARCHITECTURE/WEIGHTS` (or `open_clip:local-dir:DIRECTORY`),
            `sentence-transformers:NAME_OR_DIRECTORY`, `npy:DIRECTORY` (arrays, see
            `export_inputs`); or `NAME:…` of a package that offers NAME (`longclip.util.plugins`).
        device: where it runs; arrays stay in main memory.
        dtype: of the weights; float32 where None.
        batch_size: texts per forward pass in other libraries.

    Raises:
        EncoderError: where there is no such encoder, a library is missing, or it does not load.
        longclip.checkpoints.CheckpointError: as `longclip.load`.
    """
    dtype = dtype or torch.float32
    prefix, colon, rest = spec.partition(":")
    if prefix in _LIBRARIES and colon:
        return _LIBRARIES[prefix](rest, device=device, dtype=dtype, batch_size=batch_size)
    if prefix == _ARRAYS and colon:
        return PrecomputedEncoder(rest)
    offered = plugins(ENCODERS)
    if prefix in offered and colon:
        return _open_plugin(offered[prefix], spec, rest, device)
    # A single letter is a drive of Windows.
    if colon and len(prefix) > 1 and "/" not in prefix:
        known = ", ".join(f"{name}:" for name in (*_LIBRARIES, _ARRAYS, *sorted(offered)))
        raise EncoderError(
            f"no encoder {spec!r}: {prefix!r} is none of {known}; a model of ours has no prefix "
            "(a file with a colon in its name is reached as ./NAME)"
        )
    model = load(spec, dtype=dtype, device=device)
    if not model.config.whole:
        raise EncoderError(f"{spec} is one tower alone; an evaluation takes a model with both")
    model.check_tokenizer()
    return CLIPEncoder(model, model.name)


def _open_plugin(plugin: EntryPoint, spec: str, rest: str, device: str) -> Encoder:
    with loading_errors(spec, hint=f"this encoder comes from {plugin.value}"):
        encoder: Any = plugin.load()(rest, device=device)
    lacking = [
        name
        for name in ("context_length", "encode_text", "encode_image")
        if not hasattr(encoder, name)
    ]
    if lacking:
        raise EncoderError(
            f"{spec}: what {plugin.value} gives has no {' and no '.join(lacking)}, so it is no "
            "longclip.evaluation.Encoder"
        )
    found: Encoder = encoder
    return found
