"""HEIC with pillow-heif and without; what needs real files is left out where it is missing."""

import contextlib
import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from longclip.errors import ImageError, MissingDecoderError
from longclip.image.decode import decode_image, is_heic, open_image


def head(first: bytes, *others: bytes) -> bytes:
    brands = first + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(300)


def gradient(width: int = 96, height: int = 64) -> Image.Image:
    """Red grows to the right, green downwards: it survives a lossy codec."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8))


def heic(image: Image.Image, **options: Any) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, **{"quality": 95, **options})
    return buffer.getvalue()


def that_claims(content: bytes, width: int, height: int) -> bytes:
    """With other numbers in all its boxes `ispe`, which hold width and height."""
    changed, at = bytearray(content), content.index(b"ispe")
    while at >= 0:
        changed[at + 8 : at + 16] = struct.pack(">II", width, height)
        at = content.find(b"ispe", at + 4)
    return bytes(changed)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (head(b"heic", b"mif1", b"heic"), True),
        (head(b"mif1", b"mif1", b"heic"), True),
        (head(b"heix"), True),
        (head(b"mif1", b"miaf", b"avif"), False),
        (head(b"avif", b"mif1"), False),
        (head(b"mp42", b"isom"), False),
        (head(b"qt  ") + b"heic", False),
        (b"\x89PNG\r\n\x1a\nheic", False),
        (b"\0\0\0\x18ftyp", False),
        (b"", False),
    ],
)
def test_what_is_heic(start: bytes, expected: bool) -> None:
    assert is_heic(start) is expected


def test_without_the_plugin_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(head(b"heic", b"mif1", b"heic"))
    with pytest.raises(
        MissingDecoderError, match=r"IMG_0001\.HEIC: HEIC takes .*pip install pillow-heif"
    ):
        decode_image(path)
    with pytest.raises(MissingDecoderError, match="image of 324 bytes: HEIC takes"):
        decode_image(path.read_bytes())


def test_avif_takes_no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    buffer = io.BytesIO()
    gradient().save(buffer, "AVIF", quality=95)
    decoded = np.asarray(decode_image(buffer.getvalue()), int)
    assert abs(decoded - np.asarray(gradient(), int)).mean() < 4


def test_with_the_plugin_it_is_decoded() -> None:
    content = heic(gradient())
    with open_image(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("HEIF", (96, 64))
    decoded = decode_image(content)
    assert (decoded.mode, decoded.info) == ("RGB", {})
    assert abs(np.asarray(decoded, int) - np.asarray(gradient(), int)).mean() < 4
    assert "HEIF" not in Image.OPEN  # other code in this process finds Pillow as it was


@pytest.mark.parametrize(("orientation", "size"), [(1, (96, 64)), (3, (96, 64)), (6, (64, 96))])
def test_it_is_turned_upright_once(orientation: int, size: tuple[int, int]) -> None:
    """The container itself says how to turn it; EXIF says it again."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(heic(gradient(), exif=exif.tobytes()))
    assert decoded.size == size
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}[orientation]
    expected = gradient() if turn is None else gradient().transpose(turn)
    assert abs(np.asarray(decoded, int) - np.asarray(expected, int)).mean() < 4


def test_transparency_is_put_on_white() -> None:
    image = gradient().convert("RGBA")
    image.putalpha(0)
    assert np.asarray(decode_image(heic(image))).min() > 250


def test_size_is_checked_in_its_header() -> None:
    content = heic(gradient())
    with pytest.raises(ImageError, match="96 x 64 pixels are more than the 6,143 allowed"):
        decode_image(content, max_pixels=96 * 64 - 1)
    assert decode_image(content, max_pixels=96 * 64).size == (96, 64)
    with pytest.raises(ImageError, match="60000 x 60000 pixels are more than"):
        decode_image(that_claims(content, 60_000, 60_000))


def test_a_header_that_claims_less_than_there_is() -> None:
    content = heic(gradient(1024, 768))
    with pytest.raises(ImageError, match="damaged or cut off"):
        decode_image(that_claims(content, 64, 64), max_pixels=64 * 64)


def test_what_is_cut_off() -> None:
    content = heic(gradient())
    for end in (64, len(content) // 2, len(content) - 20):
        with pytest.raises(ImageError, match="damaged or cut off"):
            decode_image(content[:end])


@given(st.data())
def test_damaged_files_give_an_image_or_an_image_error(data: st.DataObject) -> None:
    content = bytearray(heic(gradient(32, 24)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(content), max_pixels=10_000).mode == "RGB"
