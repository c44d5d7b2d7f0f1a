"""Metadata of image files, which cost neither a sound picture nor time."""

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from longclip.data.names import SEARCHED_SUFFIXES
from longclip.errors import ImageError
from longclip.image.decode import FORMATS, decode_image
from longclip.image.metadata import MAX_PARTS, WithoutSpans
from longclip.search.indexing.exif import read_metadata
from tests.helpers.image_files import encoded, noise, png_chunk

PICTURE = Image.fromarray(noise())
PNG, JPEG = encoded(PICTURE), encoded(PICTURE, "JPEG", quality=95)
MORE_THAN_A_MEBIBYTE = b"x" * 1_500_000


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0110] = "Box Brownie"
    return exif


def segment(kind: int, data: bytes) -> bytes:
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data


def chunk(kind: bytes, data: bytes) -> bytes:
    return PNG[:33] + png_chunk(kind, data) + PNG[33:]


@pytest.mark.parametrize(
    "content",
    [
        chunk(b"zTXt", b"parameters\0\0" + zlib.compress(MORE_THAN_A_MEBIBYTE)),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(MORE_THAN_A_MEBIBYTE)),
        chunk(b"tEXt", b"workflow\0" + MORE_THAN_A_MEBIBYTE * 45),
        chunk(b"iCCP", b"ICC\0\0" + zlib.compress(MORE_THAN_A_MEBIBYTE)),
        chunk(b"iCCP", b"ICC\0\0no stream of zlib"),
        chunk(b"zTXt", b"k\0\0no stream of zlib"),
        chunk(b"zTXt", b"Raw profile type exif\0\0no stream of zlib"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n2\nno digits"),
        chunk(b"eXIf", b"http://nonsense"),
        chunk(b"tEXt", b"a\0b").replace(b"a\0b", b"a\0c"),
        chunk(b"pHYs", b"\0\0"),
        chunk(b"gAMA", b"\0"),
        chunk(b"cHRM", b"\0\0"),
        chunk(b"sRGB", b""),
        PNG[:-12] + png_chunk(b"zTXt", b"p\0\0" + zlib.compress(MORE_THAN_A_MEBIBYTE)) + PNG[-12:],
        PNG[:-12],
        PNG + b"junk",
    ],
)
def test_a_png_is_its_pixels_whatever_stands_beside_them(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (content, path):
        assert decode_image(source).tobytes() == PICTURE.tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("start", [b"", b"\xff", b"junk"])
@pytest.mark.parametrize(
    "metadata",
    [
        segment(0xE1, b"Exif\0\0" + b"x" * 60_000) * 500,
        segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 60_000) * 50,
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9000),
        segment(0xFE, b"x" * 65_000) * 50,
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 60_000),
        segment(0xE2, b"MPF\0" + b"\xff" * 100),
    ],
)
def test_a_jpeg_is_its_pixels_whatever_stands_beside_them(start: bytes, metadata: bytes) -> None:
    expected = Image.open(io.BytesIO(JPEG)).tobytes()
    behind = 2 + 18  # what comes first says that it is JFIF
    assert decode_image(JPEG[:behind] + start + metadata + JPEG[behind:]).tobytes() == expected


def test_what_is_read_is_found_among_the_rest() -> None:
    exif = turned().tobytes()
    raw = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    xmp = b'<x tiff:Orientation="6"/>'
    endless = segment(0xE1, b"Exif\0\0" + b"x" * 60_000) * 50
    for content, camera in (
        (JPEG[:2] + segment(0xE2, b"x") + segment(0xE1, exif) + endless + JPEG[2:], True),
        (JPEG[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + JPEG[2:], False),
        (chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")), True),
        (chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)), True),
        (chunk(b"tEXt", b"Raw profile type exif\0" + raw), True),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp), False),
        (encoded(PICTURE, "WEBP", exif=exif), True),
        (encoded(PICTURE, "TIFF", exif=turned()), True),
    ):
        assert decode_image(content).size == (24, 32)
        assert (read_metadata(content).camera == "Box Brownie") is camera


def test_numbers_of_a_tiff_that_no_camera_writes_are_not_read() -> None:
    """Pillow makes a fraction of each of them: a second for a megabyte."""
    count = 70_000
    content = bytearray(encoded(PICTURE, "TIFF"))
    [table] = struct.unpack("<L", content[4:8])
    [entries] = struct.unpack("<H", content[table : table + 2])
    numbers = len(content)
    content += struct.pack("<LL", 1, 3) * count
    part = len(content)
    content += struct.pack("<HHHLLL", 1, 0x9999, 5, count, numbers, 0)
    content[4:8] = struct.pack("<L", len(content))
    content += struct.pack("<H", entries + 1) + content[table + 2 : table + 2 + 12 * entries]
    content += struct.pack("<HHLLL", 0x8769, 4, 1, part, 0)
    assert decode_image(bytes(content)).tobytes() == PICTURE.tobytes()
    made = IFDRationals()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.TiffImagePlugin.IFDRational", made)
        read_metadata(bytes(content))
        decode_image(bytes(content))
    assert made.count < 100


class IFDRationals:
    count = 0

    def __call__(self, *_: object) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (JPEG[:2] + segment(0xFE, b"") * MAX_PARTS + JPEG[2:], "more than 131,072 parts"),
        (PNG[:33] + png_chunk(b"teXt", b"") * MAX_PARTS + PNG[33:], "more than 131,072 parts"),
        (b"P6\n#" + b"x" * 70_000 + b"\n2 1\n255\n123456", "header is longer than 65,536 bytes"),
    ],
)
def test_what_would_take_forever_to_walk_over_is_damaged(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_image(content)


def test_a_short_comment_in_ppm_is_read_over() -> None:
    assert decode_image(b"P6\n# two pixels\n2 1\n255\nabcdef").size == (2, 1)


def test_parts_are_left_out_wherever_it_is_read() -> None:
    file = io.BufferedReader(WithoutSpans(io.BytesIO(b"0123456789"), [(0, 2), (4, 5), (9, 20)]))
    assert file.read() == b"235678"
    assert file.seek(-2, os.SEEK_END) == 4
    assert file.read(9) == b"78"
    assert [file.seek(1), file.read(3)] == [1, b"356"]


def test_no_program_is_started_for_postscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    for name in ("a.eps", "a.png", "a.jpg"):
        (tmp_path / name).write_bytes(eps)
        for source in (eps, tmp_path / name):
            with pytest.raises(ImageError, match=r"not an image of a format that is read \(JPEG"):
                decode_image(source)
    assert read_metadata(eps).format == ""
    assert not started.exists()
    with pytest.raises(OSError, match="file"):
        Image.open(io.BytesIO(eps)).load()
    assert started.exists() or os.name == "nt", "this test would notice"


def test_every_name_that_is_taken_for_an_image_is_one_of_a_format_that_is_read() -> None:
    formats = Image.registered_extensions()
    others = {suffix for suffix in SEARCHED_SUFFIXES if formats.get(suffix) not in FORMATS}
    assert others == {".heic", ".heif"}
