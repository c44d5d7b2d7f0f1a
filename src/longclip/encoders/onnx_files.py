"""ONNX files of a model directory: which are there, and what they say of themselves.

The layout is that of transformers.js, `longclip convert --to onnx` and others: `onnx/` beside
config.json, with `text_model.onnx` and `vision_model.onnx`, their names longer by what they compute
with where that is not float32.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from longclip.errors import EncoderError
from longclip.spec import ONNX_ENDINGS, ONNX_FOLDER, ONNX_TOWERS, OnnxPrecision, Tower

DIGEST, PRECISION = "longclip.model_digest", "longclip.precision"
_WEIGHTS = (
    "*.safetensors",
    "pytorch_model*.bin",
    "open_clip*.bin",
    "*.pt",
    "*.safetensors.index.json",
)
_GRAPH, _METADATA = 7, 14
"""Fields of an ONNX file, which is a message of Protocol Buffers (ModelProto)."""


@dataclass(frozen=True)
class OnnxFiles:
    """The files of both towers of one model, with the same numbers.

    Attributes:
        paths: of the towers.
        precision: what they compute with.
        unasked: whether there are no files of float32, so that others were taken.
    """

    paths: Mapping[Tower, Path]
    precision: OnnxPrecision
    unasked: bool = False

    @cached_property
    def digest(self) -> str:
        """Hash by which a database knows the model: its own, or where that is unknown the files'.

        Raises:
            EncoderError: if the files are of two models.
        """
        stated = {_stated(path).get(DIGEST) for path in self.paths.values()}
        if len(stated) > 1:
            names = " and ".join(str(path) for path in self.paths.values())
            raise EncoderError(
                f"{names} were made from different models; write both again from one: longclip "
                "convert MODEL DIRECTORY --to onnx"
            )
        return stated.pop() or self.content

    @cached_property
    def content(self) -> str:
        """SHA-256 of the files, with the weights that lie beside them."""
        whole = hashlib.sha256()
        for path in sorted(self.paths.values()):
            for part in sorted(path.parent.glob(f"{path.name}*")):
                with part.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()


def has_onnx_files(folder: Path) -> bool:
    """Return whether a directory has the ONNX files of any tower, in any precision."""
    return any(_towers(folder, kind) for kind in ONNX_ENDINGS)


def has_weights(folder: Path) -> bool:
    """Return whether a directory has weights, which ONNX files could be written of."""
    return any(path.is_file() for pattern in _WEIGHTS for path in folder.glob(pattern))


def find_onnx_files(folder: Path, precision: OnnxPrecision | None = None) -> OnnxFiles:
    """Find the files of both towers.

    Args:
        folder: the model directory.
        precision: which of them; None takes float32, else float16, else int8.

    Raises:
        EncoderError: if there are none of that precision, one tower lacks it, or a file says that
            it has another; names what is there.
    """
    there = {kind: _towers(folder, kind) for kind in ONNX_ENDINGS}
    whole = [kind for kind, paths in there.items() if len(paths) == len(ONNX_TOWERS)]
    if not whole:
        found = ", ".join(str(path) for paths in there.values() for path in paths.values())
        raise EncoderError(
            f"{folder} has no ONNX files of both towers"
            + (f", only {found}" if found else "")
            + "; write them with: longclip convert "
            + f"{folder if has_weights(folder) else 'MODEL'} NEW_DIRECTORY --to onnx"
        )
    kind = precision or whole[0]
    if kind not in whole:
        option = " --int8 --data DATA" if kind == "int8" else f" --dtype {kind}"
        raise EncoderError(
            f"{folder} has ONNX files of {', '.join(whole)}, and none of {kind}; take --dtype "
            f"{whole[0]}, or write them: longclip convert MODEL NEW_DIRECTORY --to onnx{option}"
        )
    for path in there[kind].values():
        stated = _stated(path).get(PRECISION, kind)
        if stated != kind:
            raise EncoderError(
                f"{path} has the name of a file of {kind} and says that it is one of {stated}; "
                "give it back the name that it was written with"
            )
    return OnnxFiles(there[kind], kind, unasked=precision is None and kind != "float32")


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file, without reading its weights.

    Raises:
        EncoderError: if it is cut off or no ONNX file.
    """
    found: dict[str, str] = {}
    fields = set()
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            while file.tell() < size:
                number, kind = divmod(_varint(file), 8)
                fields.add(number)
                if kind == 0:
                    _varint(file)
                    continue
                # Of a field of bytes, its length; else a number of 8 or 4 bytes.
                length = _varint(file) if kind == 2 else {1: 8, 5: 4}[kind]
                if file.tell() + length > size:
                    raise EOFError
                if number == _METADATA:
                    key, value = _entry(file.read(length))
                    found[key] = value
                else:
                    file.seek(length, 1)
        if _GRAPH not in fields:
            raise EOFError
    except (EOFError, KeyError, ValueError) as error:
        raise EncoderError(
            f"{path} is no ONNX file, or is cut off; fetch or export it again"
        ) from error
    return found


def _stated(path: Path) -> dict[str, str]:
    """Return what a file says of itself; of OpenVINO's own format nothing is read here."""
    return read_metadata(path) if path.suffix == ".onnx" else {}


def _towers(folder: Path, precision: OnnxPrecision) -> dict[Tower, Path]:
    """Return the files of that precision that are there."""
    ending = ONNX_ENDINGS[precision]
    paths = {tower: folder / ONNX_FOLDER / f"{name}{ending}" for tower, name in ONNX_TOWERS.items()}
    return {tower: path for tower, path in paths.items() if path.is_file()}


def _varint(file: IO[bytes]) -> int:
    """Read a number, seven bits a byte, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError


def _entry(content: bytes) -> tuple[str, str]:
    """Return the key (field 1) and the value (field 2) of an entry of metadata."""
    found = {1: "", 2: ""}
    file = io.BytesIO(content)
    while file.tell() < len(content):
        number, _ = divmod(_varint(file), 8)
        found[number] = file.read(_varint(file)).decode()
    return found[1], found[2]
