import io
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from longclip.search.indexing.exif import Metadata, read_metadata
from tests.helpers.image_folders import jpeg_bytes


def with_exif(base: dict[int, Any], exif: dict[int, Any], gps: dict[int, Any]) -> bytes:
    whole = Image.Exif()
    whole.update(base)
    whole.get_ifd(0x8769).update(exif)
    whole.get_ifd(0x8825).update(gps)
    return jpeg_bytes(1, exif=whole)


CAPE_TOWN = {1: "S", 2: (33.0, 55.0, 30.0), 3: "E", 4: (18.0, 25.0, 12.0)}


def test_a_photo() -> None:
    content = with_exif(
        {0x010F: "NIKON\0", 0x0110: "Z 6"},
        {0x9003: "2024:05:31 12:30:11", 0x9291: "52"},
        CAPE_TOWN,
    )
    found = read_metadata(content)
    assert found.latitude == pytest.approx(-33.925)
    assert found.longitude == pytest.approx(18.42)
    assert (found.format, found.camera) == ("JPEG", "NIKON Z 6")
    assert found.taken == datetime(2024, 5, 31, 12, 30, 11)


def test_a_photo_of_a_phone() -> None:
    heif = pytest.importorskip("pillow_heif")
    jpeg = Image.open(io.BytesIO(WHOLE))
    buffer = io.BytesIO()
    heif.from_pillow(jpeg).save(buffer)
    found = read_metadata(buffer.getvalue())
    assert found == replace(read_metadata(WHOLE), format="HEIF")
    assert (found.camera, found.taken) == ("Nikon", datetime(2024, 5, 31, 12, 30, 11))
    assert found.latitude == pytest.approx(-33.925)


@pytest.mark.parametrize(
    ("maker", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("", "Pixel  8", "Pixel 8"),
        ("Leica", "", "Leica"),
        (" ", "\0", None),
    ],
)
def test_camera(maker: str, model: str, camera: str | None) -> None:
    assert read_metadata(with_exif({0x010F: maker, 0x0110: model}, {}, {})).camera == camera


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024:05:31 12:30:11.25", datetime(2024, 5, 31, 12, 30, 11)),
        ("2024-05-31T12:30:11", datetime(2024, 5, 31, 12, 30, 11)),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("2024:13:31 12:30:11", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_when_it_was_taken(written: str, expected: datetime | None) -> None:
    assert read_metadata(with_exif({}, {0x9003: written}, {})).taken == expected


def test_when_it_was_scanned_stands_in() -> None:
    content = with_exif({}, {0x9003: "?", 0x9004: "2001:01:02 03:04:05"}, {})
    assert read_metadata(content).taken == datetime(2001, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "change",
    [
        {1: "N", 2: (91.0, 0.0, 0.0)},
        {4: (181.0, 0.0, 0.0)},
        {2: (IFDRational(1, 0), IFDRational(0, 0), 0.0)},
        {2: (33.0,)},
        {3: None},
    ],
)
def test_a_place_that_is_nowhere(change: dict[int, Any]) -> None:
    gps = {k: v for k, v in (CAPE_TOWN | change).items() if v is not None}
    found = read_metadata(with_exif({0x0110: "X"}, {}, gps))
    assert (found.latitude, found.longitude, found.camera) == (None, None, "X")


def test_png_and_no_image() -> None:
    buffer = io.BytesIO()
    Image.new("L", (3, 3)).save(buffer, "PNG")
    assert read_metadata(buffer.getvalue()) == Metadata("PNG")
    assert read_metadata(b"no image") == read_metadata(b"") == Metadata()


WHOLE = with_exif({0x010F: "Nikon"}, {0x9003: "2024:05:31 12:30:11"}, CAPE_TOWN)


@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_broken_metadata_never_fails(data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 12))):
        content[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    found = read_metadata(bytes(content))
    assert found.latitude is None or -90 <= found.latitude <= 90
