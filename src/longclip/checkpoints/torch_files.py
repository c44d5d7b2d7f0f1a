"""Files of `torch.save` and TorchScript archives, whose tensors stay in the file until used.

Three layouts: zip archives with a pickle `data.pkl` and one part per storage; the same with
`constants.pkl`, where the pickle describes a tree of modules (TorchScript, as in OpenAI's
releases); and before torch 1.6, five pickles one after the other with the storages behind them.
The pickles are read by `pickles.py`, which runs nothing, and each tensor is compared with the bytes
that the file has for it before it is made. Zip archives
note a CRC-32 of every part, which is compared with it.
"""

import mmap
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from struct import error as StructError
from struct import unpack
from typing import Any, BinaryIO

import torch
from torch import Tensor

from longclip.checkpoints.pickles import (
    ForbiddenGlobalError,
    Known,
    Opaque,
    check_key,
    read_pickle,
)
from longclip.errors import CheckpointError
from longclip.util.regular_files import open_regular

# The pickle that lists the tensors; OpenAI's largest has 0.2 MB.
_MAX_PICKLE_BYTES = 64_000_000
# Bytes of a zip entry's local header without name and extra field, whose lengths are its last four.
_LOCAL_HEADER_BYTES = 30
_BLOCK = 1 << 24  # bytes that are read at once for a checksum
MAX_SHARING = 4
"""How many times the tensors together may be as large as their files: some share their numbers."""
_MAX_DIMENSIONS = 8
# Depth, length of a name and number of parts of a TorchScript archive's modules.
_MAX_DEPTH, _MAX_NAME, _MAX_PARTS = 50, 500, 1_000_000
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of torch/serialization.py

_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
}
# Programs whose objects stand beside the weights in training checkpoints. They become stand-ins.
_BESIDE_WEIGHTS = ("argparse", "numpy", "omegaconf", "pathlib", "pytorch_lightning", "lightning")


def read_torch_file(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file of `torch.save`, or a TorchScript archive's tensors by name.

    Raises:
        CheckpointError: if the file is broken or compressed, or holds anything but numbers, text
            and tensors; nothing of it has been run then.
    """
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            is_zip = zipfile.is_zipfile(file)
            if not is_zip:
                content = _read_legacy(_Storages(path, size))
            else:
                with zipfile.ZipFile(file) as archive:
                    content = _read_archive(_Storages(path, size), archive)
    except ForbiddenGlobalError as error:
        raise CheckpointError(
            f"{path} holds more than tensors ({error.name}), and nothing from inside a checkpoint "
            "is run; save its state dict alone, or as safetensors"
        ) from None
    except (UnpicklingError, RuntimeError, ValueError, EOFError, MemoryError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is not a whole torch checkpoint ({error}); fetch it again"
        ) from None
    except (OSError, zipfile.BadZipFile, StructError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CheckpointError(f"{path} cannot be read ({reason}); fetch it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a state dict of names and tensors"
        )
    return {str(key): value for key, value in content.items()}


class _Storages:
    """One file, mapped into memory, and the parts of it that tensors are views of."""

    def __init__(self, path: Path, size: int) -> None:
        if not size:
            raise UnpicklingError("it is empty")
        self.path, self.size = path, size
        # One mapping of the whole file: nothing is copied or unpacked.
        self._whole = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
        self._made = 0

    def part(self, start: int, end: int, itemsize: int) -> torch.UntypedStorage:
        """Return the bytes from start to end."""
        if not 0 <= start <= end <= self.size:
            raise UnpicklingError(f"a part of it ends at byte {end:,} and it has {self.size:,}")
        part: torch.UntypedStorage = self._whole[start:end]
        # Numbers must lie at multiples of their size, as they do in archives.
        return part.clone() if start % itemsize else part  # type: ignore[no-untyped-call]

    def tensor(
        self,
        dtype: torch.dtype,
        storage: torch.UntypedStorage,
        offset: object,
        size: object,
        stride: object,
    ) -> Tensor:
        """Return a view of a storage, once that is known to hold all its numbers.

        Raises:
            UnpicklingError: if it is not.
        """
        if not (_are_counts((offset,)) and _are_counts(size) and _are_counts(stride)):
            raise UnpicklingError("a tensor's shape is not made of whole numbers")
        assert isinstance(size, tuple | list)
        assert isinstance(stride, tuple | list)
        assert isinstance(offset, int)
        numbers = prod(size)
        if len(size) != len(stride) or len(size) > _MAX_DIMENSIONS:
            raise UnpicklingError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        # A stride of 0 would let one number fill any shape; copies of it would take its memory.
        needed = max(numbers, last + 1) * dtype.itemsize if numbers else 0
        if needed > storage.nbytes():
            raise UnpicklingError(
                f"a tensor of shape {list(size)} needs {needed:,} bytes, and the file has "
                f"{storage.nbytes():,} for it"
            )
        self._made += numbers * dtype.itemsize
        if self._made > MAX_SHARING * self.size:
            raise UnpicklingError("its tensors repeat the same numbers again and again")
        if not numbers:
            offset, stride = 0, [0] * len(size)
        return torch.empty(0, dtype=dtype).set_(storage, offset, tuple(size), tuple(stride))


def _are_counts(values: object) -> bool:
    return isinstance(values, tuple | list) and all(
        type(value) is int and 0 <= value < 1 << 48 for value in values
    )


@dataclass
class _Reading:
    """State of reading one pickle: what its globals and its persistent ids stand for.

    Attributes:
        storages: the file.
        place: given key and size of a number, returns where a storage's bytes lie; None while they
            are not known yet, in a first reading that only finds out which storages there are.
        itemsizes: of the numbers of each storage that was met, by key.
    """

    storages: _Storages
    place: Callable[[str], tuple[int, int]] | None
    itemsizes: dict[str, int] = field(default_factory=dict)

    def find(self, module: str, name: str) -> Any:
        """Return what a global stands for."""
        if module.startswith("__torch__"):
            return Opaque
        if (module, name) in _FUNCTIONS:
            return _FUNCTIONS[module, name]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return Known(self._tensor)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return Known(self._tensor_v3)
        if module in ("torch", "torch.storage") and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        # Lists and dictionaries of numbers, which TorchScript marks with their types.
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return Known(lambda value, *_: value)
        if module.partition(".")[0] in _BESIDE_WEIGHTS:
            return Known(Opaque)
        raise ForbiddenGlobalError(f"{module}.{name}")

    def persistent(self, saved: Any) -> tuple[torch.dtype, torch.UntypedStorage | None]:
        """Return the storage that a persistent id means, and the kind of its numbers."""
        if not (isinstance(saved, tuple) and len(saved) >= 5 and saved[0] == "storage"):
            raise UnpicklingError("it holds something else than storages beside itself")
        _, dtype, key = saved[:3]
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str | int):
            raise UnpicklingError("it holds a storage of an unknown kind")
        if saved[5:] not in ((), (None,)):
            raise UnpicklingError("it has views of storages, which torch wrote before 2017 only")
        key = str(key)
        self.itemsizes.setdefault(key, dtype.itemsize)
        if self.place is None:
            return dtype, None
        return dtype, self.storages.part(*self.place(key), dtype.itemsize)

    def _tensor(self, saved: Any, offset: Any, size: Any, stride: Any, *_: object) -> Any:
        dtype, storage = saved
        if storage is None:
            return None
        if not isinstance(storage, torch.UntypedStorage):
            raise UnpicklingError("it makes a tensor of something that is no storage")
        return self.storages.tensor(dtype, storage, offset, size, stride)

    def _tensor_v3(self, saved: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Any:
        # Its storage is one of plain bytes; the kind of number comes behind the hooks.
        dtype = next((part for part in more if isinstance(part, torch.dtype)), None)
        if dtype is None:
            raise UnpicklingError("a tensor does not say what kind of number it holds")
        return self._tensor((dtype, saved[1]), offset, size, stride)


def _dictionary(pairs: object = ()) -> dict[Any, Any]:
    """Return a dictionary of pairs, or of a dictionary."""
    if isinstance(pairs, dict):
        return dict(pairs)
    made = {}
    for key, value in pairs:  # type: ignore[attr-defined]
        check_key(key)
        made[key] = value
    return made


def _from_type(function: object, _kind: object, arguments: Any, *_: object) -> Any:
    """Return a tensor that has attributes, without them."""
    if not isinstance(function, Known) or not isinstance(arguments, tuple):
        raise UnpicklingError("it calls something that is no function")
    return function.function(*arguments)


def _listed(items: object = (), *_: object) -> list[Any]:
    if not isinstance(items, list | tuple):
        raise UnpicklingError("it makes a set of something that is no list")
    return list(items)


_NOTHING = Known(lambda *_: None)
_FUNCTIONS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Known(_dictionary),
    ("collections", "Counter"): Known(_dictionary),
    ("collections", "defaultdict"): Known(lambda *_: {}),
    ("torch", "Size"): Known(_listed),
    ("torch", "device"): _NOTHING,
    ("torch", "Tensor"): _NOTHING,
    ("torch.nn.parameter", "Parameter"): _NOTHING,
    ("torch._utils", "_rebuild_parameter"): Known(lambda tensor, *_: tensor),
    ("torch._utils", "_rebuild_parameter_with_state"): Known(lambda tensor, *_: tensor),
    ("torch._tensor", "_rebuild_from_type_v2"): Known(_from_type),
    ("_codecs", "encode"): _NOTHING,
    **{
        (module, name): Known(_listed) if "set" in name else _NOTHING
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "bytearray", "complex", "int", "float", "dict", "list")
    },
}


def _read_archive(storages: _Storages, archive: zipfile.ZipFile) -> Any:
    """Return what is in a zip archive: the object that was saved, or the modules' tensors."""
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    # A few kilobytes could unpack to gigabytes. TorchScript's source code is packed too, but it is
    # not read.
    packed = [
        name
        for name, entry in entries.items()
        if entry.compress_type and not name.startswith("code/")
    ]
    if packed:
        raise CheckpointError(
            f"{storages.path} has compressed entries ({packed[0]} …), which torch never writes: it "
            "is not a checkpoint, or one that was packed again; unpack it first"
        )
    if "data.pkl" not in entries or entries["data.pkl"].file_size > _MAX_PICKLE_BYTES:
        raise UnpicklingError("it has no readable data.pkl")
    if "byteorder" in entries and _content(storages, entries["byteorder"]) == b"big":
        raise UnpicklingError("it was written by a big-endian machine")

    places: dict[str, tuple[int, int]] = {}
    total = 0

    def place(key: str) -> tuple[int, int]:
        nonlocal total
        if key in places:
            return places[key]
        entry = entries.get(f"data/{key}")
        if entry is None:
            raise UnpicklingError(f"its part data/{key} is missing")
        total += entry.file_size
        # Else small files could have the same bytes read again and again.
        if total > storages.size:
            raise UnpicklingError("its parts are larger together than the file")
        places[key] = _place(storages.path, entry)
        return places[key]

    reading = _Reading(storages, place)
    content = memoryview(_content(storages, entries["data.pkl"]))
    root, _ = read_pickle(content, 0, reading.find, reading.persistent)
    return _tensors_of_modules(root) if "constants.pkl" in entries else root


def _place(path: Path, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return where the bytes of an entry begin and end, after a look at their checksum.

    Raises:
        CheckpointError: if it is another than the archive's list has.
    """
    # They begin behind a header of their own, whose name and extra field may be longer or shorter
    # than those in the archive's list: torch pads them, so that tensors are aligned.
    with path.open("rb") as file:
        file.seek(entry.header_offset + _LOCAL_HEADER_BYTES - 4)
        name_bytes, extra_bytes = unpack("<HH", file.read(4))
        file.seek(name_bytes + extra_bytes, 1)
        start = file.tell()
        _compare_checksum(path, file, entry)
    return start, start + entry.file_size


def _content(storages: _Storages, entry: zipfile.ZipInfo) -> bytes:
    """Return an entry's bytes; `zipfile` would refuse those that have no checksum.

    Raises:
        CheckpointError: if they are damaged.
        UnpicklingError: if they are cut off.
    """
    start, end = _place(storages.path, entry)
    if end > storages.size:
        raise UnpicklingError(f"its part {entry.filename} is cut off")
    with storages.path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _compare_checksum(path: Path, file: BinaryIO, entry: zipfile.ZipInfo) -> None:
    """Compare an entry, at whose bytes `file` stands, with the checksum in the archive's list.

    Raises:
        CheckpointError: if it is another.
    """
    # Torch notes 0 where it was told to compute none (`torch.serialization.set_crc32_options`).
    if not entry.CRC:
        return
    found, left = 0, entry.file_size
    while block := file.read(min(left, _BLOCK)):
        found = zlib.crc32(block, found)
        left -= len(block)
    if left:
        raise UnpicklingError(f"its part {entry.filename} is cut off")
    if found != entry.CRC:
        raise CheckpointError(
            f"{path} is damaged: the checksum of its part {entry.filename} is {found:08x}, and "
            f"{entry.CRC:08x} was noted when it was written; copy it again from where it came "
            "from, or make it again"
        )


def _tensors_of_modules(root: object) -> dict[str, Any]:
    """Return every tensor and number of TorchScript's module tree, under its dotted name."""
    if not isinstance(root, Opaque):
        raise UnpicklingError("it holds no modules")
    found: dict[str, Any] = {}
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    for _ in range(_MAX_PARTS):
        if not waiting:
            return found
        name, value, depth = waiting.pop()
        if isinstance(value, Opaque):
            for key, inner in reversed(value.attributes.items()):
                inner_name = f"{name}.{str(key)[:_MAX_NAME]}" if name else str(key)[:_MAX_NAME]
                if depth > _MAX_DEPTH or len(inner_name) > _MAX_NAME:
                    raise UnpicklingError("its modules are nested too deeply")
                waiting.append((inner_name, inner, depth + 1))
        elif isinstance(value, Tensor) or (type(value) is int and "." not in name):
            found[name] = value
    raise UnpicklingError(f"it has more than {_MAX_PARTS:,} modules and tensors")


def _read_legacy(storages: _Storages) -> Any:
    """Return what torch before 1.6 saved."""
    with (
        storages.path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        first = _Reading(storages, None)

        def read(start: int, reading: _Reading) -> tuple[Any, int]:
            # Strings are copied out of the file: none lies in what comes behind the pickles.
            with content[: start + _MAX_PICKLE_BYTES] as part:
                return read_pickle(part, start, reading.find, reading.persistent)

        magic, at = read(0, first)
        if magic != _LEGACY_MAGIC:
            raise UnpicklingError("it does not begin as torch's files do")
        _, at = read(at, first)  # the version of the protocol
        _, start = read(at, first)  # sizes and byte order of the machine
        _, at = read(start, first)
        keys, at = read(at, first)
        if not isinstance(keys, list) or first.itemsizes.keys() - map(str, keys):
            raise UnpicklingError("it lacks the numbers of some tensors")
        places = {}
        for key in map(str, keys):
            (count,) = unpack("<q", content[at : at + 8])
            end = at + 8 + count * first.itemsizes.get(key, 1)
            if count < 0 or end > storages.size:
                raise UnpicklingError(f"its part {key} is cut off")
            places[key] = at + 8, end
            at = end
        second = _Reading(storages, lambda key: places[key])
        return read(start, second)[0]
