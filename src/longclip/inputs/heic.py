"""HEIC, as phones write it: Pillow reads it with the plugin pillow-heif."""

import importlib
from typing import Any, BinaryIO

from PIL import Image

HEAD = 256
"""Bytes of a file that tell whether it is HEIC; the list of brands is never longer."""

_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_AVIF = frozenset((b"avif", b"avis"))


def is_heic(head: bytes) -> bool:
    """Whether a file that begins so is HEIC, by the brands in its `ftyp` box (ISO/IEC 23008-12).

    AVIF, which Pillow reads itself, comes in the same container with a brand of its own.
    """
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    # The first brand, the number of its version, and all brands that the file is good for.
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
    return bool(brands & _BRANDS) and not brands & _AVIF


def open_heic(file: BinaryIO) -> Image.Image:
    """As `PIL.Image.open`: no pixel is decoded yet.

    The plugin is not registered with Pillow: for other code in this process nothing changes, and
    it is not asked for AVIF, which it takes for its own but may not be able to decode.

    Raises:
        ModuleNotFoundError: if pillow-heif is not installed.
        OSError: if the file is damaged.
    """
    heif: Any = importlib.import_module("pillow_heif")
    try:
        image: Image.Image = heif.HeifImageFile(file)
    except SyntaxError as error:  # what Pillow has its plugins raise
        raise OSError(str(error)) from error
    return image
