"""Metadata of image files: left out before a decoder sees them, but for what is read.

A picture is sound whatever stands beside it. Pillow puts a long EXIF block together in a time
that grows by the square, calls a PNG damaged whose colour profile or texts are broken or large,
and takes seconds for each megabyte of a comment in PPM or of numbers in TIFF's EXIF. None of that
changes a pixel here: of all metadata only EXIF, and the orientation in XMP, are read.
"""

import io
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, BinaryIO

from PIL import TiffTags

from longclip.util.seekable import SeekableReader

MAX_METADATA_BYTES = 1 << 20
"""Bytes of an EXIF or XMP block that are read."""

MAX_PARTS = 1 << 17
"""Parts of a file before its picture; PNG has a part for every 8 KiB of it, too."""

_MAX_VALUES = 1 << 16
"""Numbers in a part of a TIFF file's EXIF."""

_MAX_PPM_HEADER_BYTES = 1 << 16
_PPM = re.compile(rb"P[0-9A-Za-z]\s")
_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_IN_PNG = b"XML:com.adobe.xmp\0"
_EXIF_IN_TEXT = b"Raw profile type exif\0"
"""The keyword under which ImageMagick keeps EXIF as a text."""

_EXIF = b"Exif\0\0"
# Segments of a JPEG of which Pillow wants no length (T.81, table B.1).
_ALONE = frozenset({0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
_START_OF_SCAN = 0xDA


@dataclass
class Metadata:
    """What is read of the metadata of a file, and where in the file all of them stand."""

    exif: bytes = b""
    xmp: bytes = b""
    spans: list[tuple[int, int]] = field(default_factory=list)

    def info(self) -> dict[str | tuple[int, int], Any]:
        """Return the entries that Pillow would have made in an image's `info`."""
        return {name: data for name in ("exif", "xmp") if (data := getattr(self, name))}


def find_metadata(file: BinaryIO) -> Metadata:
    """Find the metadata of a JPEG or PNG file; Pillow reads those of other formats itself.

    Raises:
        OSError: if the file has too many parts, or a very long header.
    """
    file.seek(0)
    head = file.read(len(_PNG))
    if head.startswith(b"\xff\xd8"):
        return _of_jpeg(file)
    if _PPM.match(head):
        _check_ppm_header(head + file.read(_MAX_PPM_HEADER_BYTES))
    return _of_png(file) if head == _PNG else Metadata()


def _parts(start: int) -> Iterator[int]:
    yield from range(start, start + MAX_PARTS)
    raise OSError(f"it has more than {MAX_PARTS:,} parts")


def _of_jpeg(file: BinaryIO) -> Metadata:
    """Walk over the segments up to the first scan, as Pillow does."""
    found = Metadata()
    at = 2
    for _ in _parts(0):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            break
        if head[0] != 0xFF or head[1] == 0xFF:  # a stray byte, or one that fills up
            at += 1
            continue
        kind, length = head[1], int.from_bytes(head[2:], "big")
        if kind == 0 or kind in _ALONE:
            at += 2
            continue
        if kind == _START_OF_SCAN:
            break
        # The segments 0 and 14 say which colours the numbers mean.
        if kind == 0xFE or (0xE0 <= kind <= 0xEF and kind not in (0xE0, 0xEE)):
            found.spans.append((at, at + 2 + length))
            data = file.read(max(0, length - 2)) if kind == 0xE1 else b""
            if data.startswith(_EXIF):
                # A block longer than a segment goes on in the next one.
                if len(found.exif) + len(data) <= MAX_METADATA_BYTES:
                    found.exif += data.removeprefix(_EXIF) if found.exif else data
            elif data.startswith(_XMP_IN_JPEG) and not found.xmp:
                found.xmp = data.removeprefix(_XMP_IN_JPEG)
        at += 2 + length
    return found


def _of_png(file: BinaryIO) -> Metadata:
    """Walk over the chunks; all that need not be understood are metadata, but for transparency."""
    found = Metadata()
    at = len(_PNG)
    for _ in _parts(0):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        end = at + 12 + length
        if kind[0] & 0x20 and kind != b"tRNS":
            found.spans.append((at, end))
            if kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                data = file.read(min(length, MAX_METADATA_BYTES))
                with suppress(ValueError, zlib.error):
                    _read_png_chunk(found, kind, data)
        at = end
    return found


def _read_png_chunk(found: Metadata, kind: bytes, data: bytes) -> None:
    if kind == b"eXIf":
        found.exif = data
    elif kind == b"iTXt" and data.startswith(_XMP_IN_PNG):
        found.xmp = found.xmp or data
    elif data.startswith(_EXIF_IN_TEXT) and not found.exif:
        text = data.removeprefix(_EXIF_IN_TEXT)
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], MAX_METADATA_BYTES)
        # A line break, a name, a length, and then hexadecimal digits in lines.
        found.exif = bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))


def _check_ppm_header(head: bytes) -> None:
    needed = 3 if head[:2] in (b"P1", b"P4") else 4  # kind, width, height, and mostly the maximum
    is_whole = len(head) < _MAX_PPM_HEADER_BYTES
    if not is_whole and len(re.sub(rb"#[^\r\n]*", b"", head).split(None, needed)) < needed:
        raise OSError(f"its header is longer than {_MAX_PPM_HEADER_BYTES:,} bytes")


def leave_out_long_parts(image: Any, file: BinaryIO) -> None:
    """Take those parts out of a TIFF image's EXIF that have more numbers than any camera writes.

    Args:
        image: as Pillow has opened it; no pixel is decoded yet.
        file: what it was opened from.
    """
    with suppress(Exception):  # broken metadata; Pillow's readers fail in whatever way they do
        exif = image.getexif()
        order: Any = "little" if exif.endian == "<" else "big"
        # The number of entries, an entry, and the number of values in it, in bytes.
        count_size, entry_size, values_size = (8, 20, 8) if exif.bigtiff else (2, 12, 4)
        for part in TiffTags.TAGS_V2_GROUPS:
            if part not in exif:
                continue
            file.seek(exif[part])
            entries = min(int.from_bytes(file.read(count_size), order), _MAX_VALUES)
            table = file.read(entries * entry_size)
            values = sum(
                int.from_bytes(table[at + 4 : at + 4 + values_size], order)
                for at in range(0, len(table), entry_size)
            )
            if values > _MAX_VALUES:
                del exif[part]


class WithoutSpans(SeekableReader):
    """A file without some parts of it, read in place.

    Args:
        file: one that can be read anywhere.
        spans: start and end of each part that is left out, in order.
    """

    def __init__(self, file: BinaryIO, spans: list[tuple[int, int]]) -> None:
        self._file = file
        size = file.seek(0, io.SEEK_END)
        starts = [0, *(end for _, end in spans)]
        ends = [*(start for start, _ in spans), size]
        self._starts = starts
        lengths = (max(0, min(b, size) - a) for a, b in zip(starts, ends, strict=True))
        self._offsets = [0, *accumulate(lengths)]
        super().__init__(self._offsets[-1])

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Read up to the next part that is left out."""
        part = bisect_right(self._offsets, self.at) - 1
        if part >= len(self._starts):
            return 0
        self._file.seek(self._starts[part] + self.at - self._offsets[part])
        data = self._file.read(min(len(buffer), self._offsets[part + 1] - self.at))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)
