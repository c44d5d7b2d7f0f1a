"""Choice of what computes a model: torch, onnxruntime or OpenVINO.

No torch here, as the other engines need none.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, overload

from longclip.checkpoints.model_names import BUNDLED, full_name
from longclip.encoders.model_encoder import ModelEncoder
from longclip.encoders.onnx_encoder import open_onnx
from longclip.encoders.onnx_files import has_onnx_files, has_weights
from longclip.encoders.openvino_encoder import open_openvino
from longclip.errors import CheckpointError, EncoderError, UsageError
from longclip.options import EngineDtype
from longclip.spec import ONNX_ENDINGS, Activation, Engine, OnnxPrecision, Tower

if TYPE_CHECKING:
    import torch

    from longclip.model import CLIP

AnyDtype = Union[EngineDtype, "torch.dtype"]
"""`float32` or torch.float32, and likewise the others."""


@overload
def load(
    source: str | Path,
    *,
    engine: None = None,
    dtype: "torch.dtype | None" = ...,
    device: "str | torch.device" = "cpu",
    tower: Tower | None = None,
    activation: Activation | None = None,
    revision: str | None = None,
) -> "CLIP": ...


@overload
def load(
    source: str | Path, *, engine: Engine, dtype: AnyDtype = "auto", device: str = "cpu"
) -> ModelEncoder: ...


def load(source: str | Path, *, engine: Engine | None = None, **options: Any) -> Any:
    """Load a model ready for inference: a `longclip.CLIP`, or its encoder by the engine named.

    Args:
        source: as `longclip.model.load`; with `engine` onnx or openvino, a directory with ONNX
            files.
        engine: None for a module of torch; else see `open_model`.
        options: those of `longclip.model.load`; with an engine, `dtype` (also by name, and `int8`)
            and `device`.

    Raises:
        CheckpointError: as `longclip.model.load`.
        EncoderError: as `open_model`.
        UsageError: as `longclip.model.load`, and for an option that an engine does not have.
    """
    if engine is None:
        from longclip.model import load as load_clip

        _refuse_onnx_alone(str(source))
        return load_clip(source, **options)
    if other := sorted(options.keys() - {"dtype", "device"}):
        raise UsageError(f"load takes no {', '.join(other)} with an engine; leave out one of them")
    device = options.get("device", "cpu")
    return open_model(str(source), engine=engine, dtype=options.get("dtype", "auto"), device=device)


def open_model(
    source: str,
    *,
    engine: Engine = "auto",
    dtype: AnyDtype = "auto",
    device: str = "auto",
    fast: bool = False,
    on_choice: Callable[[str], None] = lambda _: None,
) -> ModelEncoder:
    """Open a model of both towers with an engine.

    Args:
        source: what `longclip.load` takes; a directory with ONNX files for `onnx` and `openvino`.
        engine: what computes; see `choose_engine` for `auto`.
        dtype: of its numbers. `auto` is float32; of ONNX files what there is, if not float32.
        device: where it runs, for torch; `auto` is a GPU where there is one.
        fast: let `auto` be bfloat16 for torch where the device is fast at it.
        on_choice: called with a sentence on what was chosen where that is not what was asked for.

    Raises:
        CheckpointError: if the model cannot be opened.
        EncoderError: if it has one tower alone, or its ONNX files cannot be used.
        UsageError: if a library is not installed, or the engine has no such numbers or device.
    """
    source, number, device = full_name(source), str(dtype).removeprefix("torch."), str(device)
    if engine not in get_args(Engine):
        raise UsageError(f"no engine {engine!r}, only {', '.join(get_args(Engine))}")
    if engine == "auto":
        engine, why = choose_engine(source, device)
        if why:
            on_choice(why)
    if engine == "torch":
        return _open_torch(source, number, device, fast=fast)
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"--device {device} is for --engine torch; {engine} computes on the CPU here"
        )
    if number not in ("auto", *ONNX_ENDINGS):
        raise UsageError(
            f"--engine {engine} computes with {', '.join(ONNX_ENDINGS)}, as its files are; take "
            f"--engine torch for --dtype {number}"
        )
    folder = _directory(source)
    if folder is None:
        raise EncoderError(
            f"--engine {engine} reads a directory with ONNX files, and {source} is none; write one "
            f"with: longclip convert {source} DIRECTORY --to onnx"
        )
    precision = None if number == "auto" else cast(OnnxPrecision, number)
    open_directory = open_openvino if engine == "openvino" else open_onnx
    encoder = open_directory(folder, precision)
    if encoder.files.unasked:
        on_choice(f"{folder} has no ONNX files of float32: computed with {encoder.files.precision}")
    return encoder


def choose_engine(source: str, device: str) -> tuple[Literal["torch", "onnx", "openvino"], str]:
    """Return what `auto` stands for, and a sentence about it where it is not torch.

    Weights go with torch, which has bfloat16 where the processor is fast at it, and in float32
    was as fast as the others but for single texts (docs/onnx.md). ONNX files alone go with
    onnxruntime, which was ahead of OpenVINO with texts in 8 bits and beside it with the rest.

    Args:
        source: of the model.
        device: as the user asked.
    """
    folder = _directory(source)
    if folder is None or device not in ("auto", "cpu") or not _is_onnx_alone(folder):
        return "torch", ""
    other = find_spec("openvino") and not find_spec("onnxruntime")
    engine: Literal["onnx", "openvino"] = "openvino" if other else "onnx"
    return engine, f"{folder} has ONNX files and no weights: computed by --engine {engine}"


def _is_onnx_alone(folder: Path) -> bool:
    """Return whether a directory has ONNX files and no weights."""
    return has_onnx_files(folder) and not has_weights(folder)


def _refuse_onnx_alone(source: str) -> None:
    """Refuse to have torch compute what there are no weights of.

    Raises:
        CheckpointError: naming the engines.
    """
    folder = _directory(full_name(source))
    if folder is not None and _is_onnx_alone(folder):
        raise CheckpointError(
            f"{folder} has ONNX files and no weights, which torch needs: take --engine onnx or "
            'openvino (in Python longclip.load(…, engine="onnx"))'
        )


def _open_torch(source: str, number: str, device: str, *, fast: bool) -> ModelEncoder:
    import torch

    from longclip.encoders.clip_encoder import CLIPEncoder
    from longclip.model import load as load_clip
    from longclip.util.hardware import fast_dtype, pick_device, pick_dtype

    if number == "int8":
        raise UsageError(
            "--dtype int8 is for ONNX files of 8 bits (longclip convert … --to onnx --int8): take "
            "--engine onnx or openvino and their directory"
        )
    _refuse_onnx_alone(source)
    place = pick_device(device)
    auto = fast_dtype(place) if fast else torch.float32
    model = load_clip(source, dtype=pick_dtype(number, auto=auto), device=place)
    if not model.config.whole:
        raise EncoderError(f"{source} is one tower alone; what is compared here takes both")
    model.check_tokenizer()
    return CLIPEncoder(model)


def _directory(source: str) -> Path | None:
    """Return the directory that a model is named by, if it is one on this machine."""
    path = Path(source)
    return path if source not in BUNDLED and path.is_dir() else None
