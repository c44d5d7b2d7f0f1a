"""Opening of any encoder by its name."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

from longclip.encoders.encoder import Encoder
from longclip.encoders.engines import AnyDtype, open_model
from longclip.encoders.library import loading_errors
from longclip.encoders.open_clip_encoder import open_open_clip
from longclip.encoders.precomputed import PrecomputedEncoder
from longclip.encoders.sentence_transformers_encoder import open_sentence_transformers
from longclip.encoders.transformers_encoder import open_transformers
from longclip.errors import EncoderError, UsageError
from longclip.spec import Engine
from longclip.util.plugins import ENCODERS, plugins

_LIBRARIES: dict[str, Callable[..., Encoder]] = {
    "transformers": open_transformers,
    "open_clip": open_open_clip,
    "sentence-transformers": open_sentence_transformers,
}
_ARRAYS = "npy"
_ENGINES: tuple[Engine, ...] = ("onnx", "openvino")


def open_encoder(
    spec: str,
    *,
    device: str = "cpu",
    dtype: AnyDtype | None = None,
    batch_size: int = 64,
    engine: Engine = "auto",
    on_choice: Callable[[str], None] = lambda _: None,
) -> Encoder:
    """Open an encoder.

    Args:
        spec: what `longclip.load` takes; `onnx:DIRECTORY` or `openvino:DIRECTORY`, of ONNX files;
            or `transformers:NAME_OR_DIRECTORY`, `open_clip:ARCHITECTURE/WEIGHTS` (or
            `open_clip:local-dir:DIRECTORY`), `sentence-transformers:NAME_OR_DIRECTORY`,
            `npy:DIRECTORY` (arrays, see `PrecomputedEncoder`); or `NAME:…` of a package that offers
            NAME (`longclip.util.plugins`).
        device: where it runs, `auto` is a GPU where there is one; arrays stay in main memory.
        dtype: of the weights; where it is None or `auto` float32, and of ONNX files what there is.
        batch_size: texts per forward pass in other libraries.
        engine: what computes a model of ours, see `longclip.encoders.engines.open_model`.
        on_choice: called with what was chosen, see `open_model`.

    Raises:
        EncoderError: where there is no such encoder, a library is missing, or it does not load.
        UsageError: where the library of an engine is missing, or `engine` is another than `spec`
            names.
        longclip.checkpoints.CheckpointError: as `longclip.load`.
    """
    prefix, colon, rest = spec.partition(":")
    number: Any = dtype or "auto"
    for kind in _ENGINES:
        if prefix == kind and colon:
            if engine not in ("auto", kind):
                raise UsageError(
                    f"{spec} is computed by {kind}, and --engine is {engine}; leave out one of them"
                )
            return open_model(rest, engine=kind, dtype=number, device=device, on_choice=on_choice)
    offered = plugins(ENCODERS)
    if colon and engine in _ENGINES and prefix in (*_LIBRARIES, _ARRAYS, *offered):
        raise UsageError(
            f"--engine {engine} is for models of ours, and {spec} is none; name ONNX files as "
            f"{engine}:DIRECTORY beside it, and leave --engine out"
        )
    if prefix in _LIBRARIES and colon:
        return _open_library(prefix, rest, device, number, batch_size)
    if prefix == _ARRAYS and colon:
        return PrecomputedEncoder(rest)
    if prefix in offered and colon:
        return _open_plugin(offered[prefix], spec, rest, device)
    # A single letter is a drive of Windows.
    if colon and len(prefix) > 1 and "/" not in prefix:
        names = (*_LIBRARIES, *_ENGINES, _ARRAYS, *sorted(offered))
        known = ", ".join(f"{name}:" for name in names)
        raise EncoderError(
            f"no encoder {spec!r}: {prefix!r} is none of {known}; a model of ours has no prefix "
            "(a file with a colon in its name is reached as ./NAME)"
        )
    return open_model(spec, engine=engine, dtype=number, device=device, on_choice=on_choice)


def _open_library(
    library: str, name: str, device: str, dtype: AnyDtype, batch_size: int
) -> Encoder:
    import torch

    from longclip.util.hardware import pick_device, pick_dtype

    number = str(dtype).removeprefix("torch.")
    if number == "int8":
        raise EncoderError(f"--dtype int8 is for ONNX files, not {library}:{name}; leave it out")
    numbers = pick_dtype(number, auto=torch.float32)
    opened = _LIBRARIES[library]
    return opened(name, device=pick_device(device), dtype=numbers, batch_size=batch_size)


def _open_plugin(plugin: EntryPoint, spec: str, rest: str, device: str) -> Encoder:
    from longclip.util.hardware import pick_device

    with loading_errors(spec, hint=f"this encoder comes from {plugin.value}"):
        encoder: Any = plugin.load()(rest, device=pick_device(device))
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
