"""Files that torch wrote, TorchScript archives among them, read without running anything in them.

A pickle is a program. Plain checkpoints are read by torch's own restricted reader; TorchScript
archives (OpenAI's releases), which that one refuses, by a reader of ours that knows nothing but
tensors. In both the weights stay in the file, mapped into memory, until they are used.
"""

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.errors import CheckpointError

# The pickle that lists the tensors; OpenAI's largest has 0.2 MB.
_MAX_PICKLE_BYTES = 64_000_000
# Bytes of a zip entry's local header without name and extra field, whose lengths are its last four.
_LOCAL_HEADER_BYTES = 30


def read_torch_file(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file of `torch.save`, or a TorchScript archive's tensors by name.

    Raises:
        CheckpointError: if the file is broken or compressed, or holds anything but numbers, text
            and tensors; nothing of it has been run then.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_zip(path, archive)
        content = _read_weights_only(path, mmap=False)
    except (OSError, zipfile.BadZipFile, struct.error) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch it again") from None
    return _as_dictionary(path, content)


def _read_zip(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    # A few kilobytes could unpack to gigabytes. TorchScript's source code is packed, and not read.
    packed = [n for n, e in entries.items() if e.compress_type and not n.startswith("code/")]
    if packed:
        raise CheckpointError(
            f"{path} has compressed entries ({packed[0]} …), which torch never writes: it is not "
            "a checkpoint, or one that was packed again; unpack it first"
        )
    if "constants.pkl" in entries:
        return _read_torchscript(path, archive)
    return _as_dictionary(path, _read_weights_only(path, mmap=True))


def _read_weights_only(path: Path, *, mmap: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = named[1] if named else "something else"
        raise CheckpointError(
            f"{path} holds more than tensors ({what}), and nothing from inside a checkpoint is "
            "run; save its state dict alone, or as safetensors"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise CheckpointError(
            f"{path} is not a whole torch checkpoint ({reason}); fetch it again"
        ) from None


def _as_dictionary(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a state dict of names and tensors"
        )
    return {str(key): value for key, value in content.items()}


class _Object:
    """Stand-in for every object of TorchScript's; only its attributes count."""

    def __init__(self, *_: object) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.attributes = state


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler of tensors and TorchScript's objects that refuses any other global."""

    def __init__(self, file: io.BytesIO, storages: Callable[[str], torch.UntypedStorage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Object
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name.endswith("Storage"):
            return _dtype(name)
        # Lists and dictionaries of numbers, which TorchScript marks with their types.
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return lambda value, *_: value
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, saved: Any) -> Any:
        kind, dtype, key, _, _ = saved
        if kind != "storage":
            raise pickle.UnpicklingError(f"it holds a {kind!r}")
        return dtype, self._storages(str(key))


def _dtype(storage: str) -> torch.dtype:
    names = {"Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Double": "float64"}
    names |= {"Long": "int64", "Int": "int32", "Bool": "bool", "Byte": "uint8"}
    name = storage.removesuffix("Storage")
    if name not in names:
        raise pickle.UnpicklingError(f"it holds a torch.{storage}")
    dtype = getattr(torch, names[name])
    assert isinstance(dtype, torch.dtype)
    return dtype


def _tensor(
    saved: tuple[torch.dtype, torch.UntypedStorage],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *_: object,
) -> Tensor:
    dtype, storage = saved
    return torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)


def _read_torchscript(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return every tensor and number of the module tree, under its dotted name."""
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    if "data.pkl" not in entries or entries["data.pkl"].file_size > _MAX_PICKLE_BYTES:
        raise CheckpointError(f"{path} is a TorchScript archive without a readable data.pkl")
    size = path.stat().st_size
    whole = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)

    def storage(key: str) -> torch.UntypedStorage:
        entry = entries.get(f"data/{key}")
        if entry is None:
            raise pickle.UnpicklingError(f"its part data/{key} is missing")
        start = _start_of(path, entry)
        if start + entry.file_size > size:
            raise pickle.UnpicklingError(f"its part data/{key} is cut off")
        part: torch.UntypedStorage = whole[start : start + entry.file_size]
        return part

    try:
        root = _TensorUnpickler(io.BytesIO(archive.read(entries["data.pkl"])), storage).load()
        found: dict[str, Any] = {}
        _collect(root, "", found)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"the TorchScript archive {path} cannot be read for its tensors ({error})"
        ) from None
    return found


def _start_of(path: Path, entry: zipfile.ZipInfo) -> int:
    """Return where the bytes of an uncompressed entry begin: behind its local header."""
    with path.open("rb") as file:
        file.seek(entry.header_offset + _LOCAL_HEADER_BYTES - 4)
        name, extra = struct.unpack("<HH", file.read(4))
    return entry.header_offset + _LOCAL_HEADER_BYTES + int(name) + int(extra)


def _collect(value: object, name: str, found: dict[str, Any]) -> None:
    if isinstance(value, _Object):
        for key, inner in value.attributes.items():
            _collect(inner, f"{name}.{key}" if name else key, found)
    elif isinstance(value, Tensor) or (type(value) is int and "." not in name):
        found[name] = value
