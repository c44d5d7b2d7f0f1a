"""Files of tensors, safetensors and torch's, mapped into memory: nothing in them is ever run.

A pickle is a program. Plain checkpoints are read by torch's own restricted reader; TorchScript
archives (OpenAI's releases), which that one refuses, by a reader of ours that knows nothing but
tensors. In all of them the weights stay in the file until they are used.

Safetensors files are written by a writer of ours too. The library's own takes all tensors of a file
at once, and reads or converts every one of them first; ours holds one at a time, whatever the size
of the model.
"""

import io
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from longclip.errors import CheckpointError

NUMBERS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries of OpenAI's files that are plain numbers; no other program writes them."""

# Where training programs keep the weights inside a checkpoint.
_WEIGHT_ENTRIES = ("state_dict", "model", "model_state_dict")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file, and OpenAI's numbers as tensors.

    Raises:
        CheckpointError: if the file cannot be read or holds no tensors.
    """
    try:
        if is_safetensors(path) or path.suffix == ".safetensors":
            return read_safetensors(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    values = read_torch_file(path)
    for name in _WEIGHT_ENTRIES:
        if isinstance(values.get(name), Mapping):
            values = {str(key): value for key, value in values[name].items()}
    tensors = {
        # DistributedDataParallel, which many trained in, calls every model `module`.
        name.removeprefix("module."): value if isinstance(value, Tensor) else torch.tensor(value)
        for name, value in values.items()
        if isinstance(value, Tensor) or name in NUMBERS
    }
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors, only {', '.join(list(values)[:5])}")
    return tensors


_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
}

OnBytes = Callable[[int], None]
"""Callback that gets the number of bytes of each piece that is written."""


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins with the length of a header and that header, which is JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of one file, mapped into memory.

    Raises:
        CheckpointError: if it is missing or truncated.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing though the index names it") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); fetch or copy it again"
        ) from None


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    on_bytes: OnBytes | None = None,
) -> None:
    """Write one file, with one tensor in memory at a time.

    Args:
        path: of the file; it is not written atomically.
        tensors: by name; each is asked for twice, for its shape and for its numbers.
        dtype: of the stored numbers; None keeps theirs.
        on_bytes: called after each tensor.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        stored = dtype or tensor.dtype
        begin, end = end, end + stored_size(tensor, dtype)
        shape = list(tensor.shape)
        header[name] = {"dtype": _DTYPES[stored], "shape": shape, "data_offsets": [begin, end]}
    # In the order given. The library's own writer sorts by dtype, so that every tensor is aligned;
    # those of one dtype, as a model's are, always are.
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces are allowed behind the header; programs that map the file want its tensors aligned.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            flat = tensor.detach().to("cpu", dtype or tensor.dtype).contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)
            if on_bytes:
                on_bytes(flat.nbytes)


def stored_size(tensor: Tensor, dtype: torch.dtype | None) -> int:
    """Return the bytes of a tensor in a file."""
    return tensor.numel() * (dtype or tensor.dtype).itemsize


def in_shards(
    tensors: Mapping[str, Tensor], dtype: torch.dtype | None, shard_bytes: int
) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors in groups of at most `shard_bytes`, or of one larger tensor."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        more = stored_size(tensor, dtype)
        if shard and size + more > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += more
    yield shard


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
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
                # A few kilobytes could unpack to gigabytes. TorchScript's source code is packed
                # too, but it is not read.
                packed = [
                    name
                    for name, entry in entries.items()
                    if entry.compress_type and not name.startswith("code/")
                ]
                if packed:
                    raise CheckpointError(
                        f"{path} has compressed entries ({packed[0]} …), which torch never writes: "
                        "it is not a checkpoint, or one that was packed again; unpack it first"
                    )
                if "constants.pkl" in entries:
                    return _read_torchscript(path, archive)
        # A mapped file costs no memory until a tensor is used; only the zip format can be mapped.
        content = _load_weights_only(path, mmap=zipped)
    except (OSError, zipfile.BadZipFile, struct.error) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch it again") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a state dict of names and tensors"
        )
    return {str(key): value for key, value in content.items()}


def _load_weights_only(path: Path, *, mmap: bool) -> Any:
    """Return what torch's restricted reader finds in a file.

    Raises:
        CheckpointError: if the file is broken, or holds more than tensors; names what.
    """
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


_STORAGE_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
}


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
            return self._rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name.endswith("Storage"):
            if name not in _STORAGE_DTYPES:
                raise pickle.UnpicklingError(f"it holds a torch.{name}")
            return _STORAGE_DTYPES[name]
        # Lists and dictionaries of numbers, which TorchScript marks with their types.
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return lambda value, *_: value
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, saved: Any) -> Any:
        kind, dtype, key, _, _ = saved
        if kind != "storage":
            raise pickle.UnpicklingError(f"it holds a {kind!r}")
        return dtype, self._storages(str(key))

    @staticmethod
    def _rebuild_tensor(
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
    # One mapping of the whole file, of which every tensor is a view: nothing is copied or unpacked.
    whole = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)

    def storage(key: str) -> torch.UntypedStorage:
        entry = entries.get(f"data/{key}")
        if entry is None:
            raise pickle.UnpicklingError(f"its part data/{key} is missing")
        # Its bytes begin behind a header of their own, whose name and extra field may be longer or
        # shorter than those in the archive's list: torch pads them, so that tensors are aligned.
        with path.open("rb") as file:
            file.seek(entry.header_offset + _LOCAL_HEADER_BYTES - 4)
            name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
        start = entry.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
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


def _collect(value: object, name: str, found: dict[str, Any]) -> None:
    if isinstance(value, _Object):
        for key, inner in value.attributes.items():
            _collect(inner, f"{name}.{key}" if name else key, found)
    elif isinstance(value, Tensor) or (type(value) is int and "." not in name):
        found[name] = value
