"""Tensors of safetensors files as NumPy arrays that are views of the mapped file; no torch here.

NumPy has no bfloat16: such numbers are the upper half of a float32, and are kept as 16 bits.
"""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.errors import CheckpointError
from longclip.util.regular_files import open_regular

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}
"""Those that weights of a CLIP are stored in, by safetensors' names."""

_BLOCK = 1 << 22
"""Numbers that are converted at once, where not all need be in memory."""


@dataclass(frozen=True, eq=False)
class MappedTensor:
    """A tensor that stays in its file until it is used.

    Attributes:
        stored: its numbers, of bfloat16 the bits.
        is_bfloat16: whether they are that.
    """

    stored: NDArray[Any]
    is_bfloat16: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its dimensions."""
        return self.stored.shape

    def reshape(self, shape: Sequence[int]) -> "MappedTensor":
        """Return the same numbers in another shape."""
        return MappedTensor(self.stored.reshape(tuple(shape)), self.is_bfloat16)

    def rows(self, which: Any = ...) -> NDArray[np.float32]:
        """Return float32 of all numbers, or of those rows; float32 of the file is not copied."""
        chosen = self.stored[which]
        if self.is_bfloat16:
            chosen = (chosen.astype(np.uint32) << 16).view(np.float32)
        numbers: NDArray[np.float32] = chosen.astype(np.float32, copy=False)
        return numbers

    def bfloat16(self) -> Iterator[NDArray[np.uint16]]:
        """Yield the bits of all numbers rounded to bfloat16, to the nearest, halves to even."""
        flat = self.stored.reshape(-1)
        for start in range(0, len(flat), _BLOCK):
            part = flat[start : start + _BLOCK]
            if self.is_bfloat16:
                yield np.ascontiguousarray(part)
                continue
            with np.errstate(over="ignore"):  # a float64 may be infinite in 32 bits
                numbers = part.astype(np.float32, copy=False)
            bits = numbers.view(np.uint32)
            upper = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
            upper[np.isnan(numbers)] = 0x7FC0
            yield upper


def map_safetensors(path: Path) -> dict[str, MappedTensor]:
    """Return all tensors of a safetensors file.

    Raises:
        CheckpointError: if it is none, is not whole, or holds numbers of another kind.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        head = file.read(8)
        (length,) = struct.unpack("<Q", head) if len(head) == 8 else (0,)
        size = path.stat().st_size - 8 - length
        if not 2 <= length <= size + length:
            raise CheckpointError(f"{path} is not a complete safetensors file; fetch it again")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path} is not a safetensors file ({error})") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is not a safetensors file; fetch it again")
    whole = np.memmap(path, np.uint8, "r", offset=8 + length) if size else np.empty(0, np.uint8)
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None or not 0 <= start <= end <= size:
            raise CheckpointError(f"{path}: {name} is {entry}, which is not in the file")
        if math.prod(entry["shape"]) * np.dtype(dtype).itemsize != end - start:
            raise CheckpointError(f"{path}: {name} is {entry}, whose sizes do not agree")
        values = whole[start:end].view(dtype).reshape(entry["shape"])
        found[name] = MappedTensor(values, entry["dtype"] == "BF16")
    return found
