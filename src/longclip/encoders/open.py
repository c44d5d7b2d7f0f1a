"""Opening of any encoder by its name."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import torch

from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.encoders.encoder import Encoder
from longclip.encoders.library import loading_errors
from longclip.encoders.open_clip_encoder import open_open_clip
from longclip.encoders.precomputed import PrecomputedEncoder
from longclip.encoders.sentence_transformers_encoder import open_sentence_transformers
from longclip.encoders.transformers_encoder import open_transformers
from longclip.errors import EncoderError
from longclip.model import load
from longclip.util.plugins import ENCODERS, plugins

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
            `PrecomputedEncoder`); or `NAME:…` of a package that offers NAME
            (`longclip.util.plugins`).
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
            "longclip.encoders.Encoder"
        )
    found: Encoder = encoder
    return found
