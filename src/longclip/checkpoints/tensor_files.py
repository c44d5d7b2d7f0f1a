"""Files of tensors, safetensors and torch's, mapped into memory: nothing in them is ever run.

In all of them the weights stay in the file until they are used.

Safetensors files are written by a writer of ours too. The library's own takes all tensors of a file
at once, and reads or converts every one of them first; ours holds one at a time, whatever the size
of the model. It puts a checksum of all numbers into the header, where other programs leave it
alone, and what has one is compared with it when it is read.
"""

import json
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from longclip.checkpoints.torch_files import read_torch_file
from longclip.errors import CheckpointError
from longclip.util.regular_files import open_regular

NUMBERS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries of OpenAI's files that are plain numbers; no other program writes them."""


def read_values(path: Path) -> dict[str, Any]:
    """Return what one file holds, by name: tensors, and beside them whatever a pickle has.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    try:
        if is_safetensors(path) or path.suffix == ".safetensors":
            return dict(read_safetensors(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    return read_torch_file(path)


_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int64: "I64",
}

_CHECKSUM = "longclip_crc32"
"""Entry of the header's metadata: CRC-32 of everything behind the header, 8 hexadecimal digits.

It finds every damage of up to 32 bits in a row, and of others all but one in four thousand million,
in about a third of the time that SHA-256 would take."""

_BLOCK = 1 << 24

OnBytes = Callable[[int], None]
"""Callback that gets the number of bytes of each piece that is written."""


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins with the length of a header and that header, which is JSON."""
    with open_regular(path) as file:
        return file.read(9)[8:] == b"{"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of one file, mapped into memory.

    Raises:
        CheckpointError: if it is missing, truncated, or has a checksum that is not its own.
    """
    try:
        open_regular(path).close()
        tensors = load_file(path)
        compare_checksum(path)
        return tensors
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing though the index names it") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); fetch or copy it again"
        ) from None


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in the header of a whole safetensors file."""
    with open_regular(path) as file:
        (length,) = struct.unpack("<Q", file.read(8))
        metadata: dict[str, str] = json.loads(file.read(length)).get("__metadata__", {})
        return metadata


def compare_checksum(path: Path) -> bool:
    """Compare a safetensors file with the checksum in its header; return whether it has one.

    Raises:
        CheckpointError: if it is another.
    """
    noted = read_metadata(path).get(_CHECKSUM)
    if noted is None:
        return False
    with open_regular(path) as file:
        (length,) = struct.unpack("<Q", file.read(8))
        file.seek(length, 1)
        found = 0
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    if f"{found:08x}" != noted:
        raise CheckpointError(
            f"{path} is damaged: the checksum of its numbers is {found:08x}, and {noted} was noted "
            "when it was written; copy it again from where it came from, or make it again"
        )
    return True


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    on_bytes: OnBytes | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write one file, with one tensor in memory at a time.

    Args:
        path: of the file; it is not written atomically.
        tensors: by name; each is asked for twice, for its shape and for its numbers.
        dtype: of the stored floating-point numbers; None keeps theirs.
        on_bytes: called after each tensor.
        metadata: of the header, beside what is always there.
    """
    layout = [
        (name, stored_dtype(tensor, dtype), list(tensor.shape)) for name, tensor in tensors.items()
    ]
    # From wide numbers to narrow ones, so that every tensor is aligned, as the library's writer has
    # them; those of one dtype, as a CLIP's are, stay in the order given.
    layout.sort(key=lambda entry: -entry[1].itemsize)
    unknown = "x" * 8
    header: dict[str, Any] = {"__metadata__": {"format": "pt", _CHECKSUM: unknown, **metadata}}
    end = 0
    for name, stored, shape in layout:
        begin, end = end, end + math.prod(shape) * stored.itemsize
        header[name] = {"dtype": _DTYPES[stored], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces are allowed behind the header; programs that map the file want its tensors aligned.
    text += b" " * (-len(text) % 8)
    checksum = 0
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, stored, _ in layout:
            flat = tensors[name].detach().to("cpu", stored).contiguous().reshape(-1)
            numbers = flat.view(torch.uint8).numpy().data
            checksum = zlib.crc32(numbers, checksum)
            file.write(numbers)
            if on_bytes:
                on_bytes(flat.nbytes)
        # Known only now; the header has room for it.
        file.seek(8 + text.index(unknown.encode()))
        file.write(f"{checksum:08x}".encode())


def stored_dtype(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype of a tensor in a file: whole numbers keep theirs."""
    return dtype if dtype and tensor.is_floating_point() else tensor.dtype


def stored_size(tensor: Tensor, dtype: torch.dtype | None) -> int:
    """Return the bytes of a tensor in a file."""
    return tensor.numel() * stored_dtype(tensor, dtype).itemsize


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
