"""Image files of every kind, sound and broken."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(height: int = 24, width: int = 32, channels: int = 3) -> NDArray[np.uint8]:
    random = np.random.default_rng(height * 1000 + width)
    return random.integers(0, 256, (height, width, channels), np.uint8).squeeze()


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def cut_jpeg() -> bytes:
    data = encoded(Image.fromarray(noise(100, 100)), "JPEG")
    return data[: len(data) // 2]


def png_with_broken_data() -> bytes:
    data = bytearray(encoded(Image.fromarray(noise(100, 100))))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    return bytes(data)
