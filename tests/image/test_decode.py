import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from longclip.errors import ImageError
from longclip.image.decode import decode_image
from tests.helpers.image_files import (
    cut_jpeg,
    encoded,
    noise,
    png_that_claims,
    png_with_broken_data,
)


def test_every_kind_of_source(tmp_path: Path) -> None:
    pixels = noise()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), Image.fromarray(pixels)):
        image = decode_image(source)
        assert image.mode == "RGB"
        assert np.array_equal(image, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation(orientation: int, format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(noise()), format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    image = decode_image(data)
    assert np.array_equal(image, expected)
    assert image.size == ((32, 24) if orientation < 5 else (24, 32))
    assert np.array_equal(decode_image(image), image)  # not turned a second time


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_meaningless_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode_image(encoded(Image.fromarray(noise()), "JPEG", exif=exif)).size == (32, 24)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_ignored() -> None:
    data = encoded(
        Image.fromarray(noise()), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage"
    )
    assert decode_image(data).size == (32, 24)


def test_palette() -> None:
    image = Image.fromarray(noise()).quantize(16)
    assert np.array_equal(decode_image(encoded(image)), image.convert("RGB"))


def test_palette_with_transparency_is_put_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    [[red, clear]] = np.array(decode_image(encoded(image, transparency=1))).tolist()
    assert red == [255, 0, 0]
    assert clear == [255, 255, 255]


def test_transparency_is_put_on_white() -> None:
    rgba = noise(channels=4)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    image = np.array(decode_image(encoded(Image.fromarray(rgba))))
    assert np.abs(image - expected).max() <= 1

    gray = noise(channels=2)
    alpha = gray[..., 1] / 255
    expected = gray[..., 0] * alpha + 255 * (1 - alpha)
    image = np.array(decode_image(encoded(Image.fromarray(gray, "LA"))))
    assert np.abs(image - expected[..., None]).max() <= 1


def test_transparent_colour_of_an_rgb_image() -> None:
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((0, 0), (1, 2, 3))
    [[clear, kept]] = np.array(decode_image(encoded(image, transparency=(1, 2, 3)))).tolist()
    assert clear == [255, 255, 255]
    assert kept == [10, 20, 30]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled(format: str) -> None:
    values = np.array([[0, 127, 128, 129, 257, 300, 32768, 65406, 65535]], np.uint16)
    image = np.array(decode_image(encoded(Image.fromarray(values), format)))
    expected = np.round(values / 65535 * 255)
    assert np.array_equal(image, np.repeat(expected[..., None], 3, axis=-1))


def test_an_array_is_no_path() -> None:
    with pytest.raises(ImageError, match="not ndarray; of an array make one with PIL"):
        decode_image(noise())  # type: ignore[arg-type]


def tiff_with(field: int, value: int, values: list[int]) -> bytes:
    """Return a TIFF file of one row of 16 bits in which one field is changed."""
    data = encoded(Image.fromarray(np.array([values], "<u2")), "TIFF")
    at = data.index(struct.pack("<HHI", field, 3, 1)) + 8
    return data[:at] + struct.pack("<H", value) + data[at + 2 :]


def test_16_bits_whose_least_is_white() -> None:
    image = np.array(decode_image(tiff_with(262, 0, [0, 32768, 65535])))
    assert image[0, :, 0].tolist() == [255, 127, 0]


def test_12_bits_are_scaled() -> None:
    # Two pixels in three bytes: 0x800, 0xFFF.
    image = np.array(decode_image(tiff_with(258, 12, [0xFF80, 0x00FF])))
    assert image[0, :, 0].tolist() == [128, 255]


def test_16_bits_of_which_one_value_is_transparent() -> None:
    image = Image.fromarray(np.array([[100, 101, 65535]], np.uint16))
    decoded = np.array(decode_image(encoded(image, transparency=100)))
    assert decoded[0, :, 0].tolist() == [255, 0, 255]


@pytest.mark.parametrize("value", [-1, 65536])
def test_more_than_16_bits(value: int) -> None:
    with pytest.raises(ImageError, match="do not fit into 16 bits"):
        decode_image(Image.fromarray(np.full((2, 2), value, np.int32)))


def test_floats_have_no_white() -> None:
    data = encoded(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point"):
        decode_image(data)


@pytest.mark.parametrize(("mode", "format"), [("L", "PNG"), ("1", "PNG"), ("L", "JPEG")])
def test_gray(mode: str, format: str) -> None:
    image = Image.fromarray(noise(channels=1)).convert(mode)
    data = encoded(image, format)
    gray = np.array(Image.open(io.BytesIO(data)).convert("L"))
    assert np.array_equal(decode_image(data), np.stack([gray] * 3, axis=-1))


def test_cmyk_jpeg() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = np.array(decode_image(encoded(image, "JPEG"))).mean((0, 1))
    assert red > 200
    assert green < 60
    assert blue < 60


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert np.array_equal(decode_image(data), frames[0])


def test_one_pixel() -> None:
    assert decode_image(encoded(Image.new("L", (1, 1), 7))).getpixel((0, 0)) == (7, 7, 7)


def test_given_image_is_not_changed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(Image.fromarray(noise()), "PNG", exif=exif)))
    decode_image(image)
    assert image.size == (32, 24)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    ("content", "reason", "remedy"),
    [
        (b"", "empty", "fetch it again"),
        (b"<html>404 not found</html>", "not an image", "leave it out"),
        (cut_jpeg(), "damaged or cut off", "fetch it again"),
        (png_with_broken_data(), "damaged or cut off", "fetch it again"),
        (b"\x89PNG\r\n\x1a\n", "", "leave it out"),
        (png_that_claims(60_000, 60_000), "3600000000 pixels", "scale it down"),
        (png_that_claims(10_000, 10_001), "10000 x 10001 pixels", "--max-pixels"),
        (png_that_claims(0, 5), "", "leave it out"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_faults_name_the_file(content: bytes, reason: str, remedy: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError) as caught:
        decode_image(path)
    for part in (str(path), reason, remedy):
        assert part in str(caught.value)
    with pytest.raises(ImageError, match=f"image of {len(content)} bytes"):
        decode_image(content)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nothing\.png: there is no such file"):
        decode_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="cannot be opened"):
        decode_image(tmp_path)


def test_max_pixels() -> None:
    data = encoded(Image.new("RGB", (20, 10)))
    assert decode_image(data, max_pixels=200).size == (20, 10)
    with pytest.raises(ImageError, match="20 x 10 pixels are more than the 199 allowed"):
        decode_image(data, max_pixels=199)
    with pytest.raises(ImageError, match="the image: 20 x 10"):
        decode_image(Image.new("RGB", (20, 10)), max_pixels=199)
    with pytest.raises(ImageError, match="0 x 5 has no pixels"):
        decode_image(Image.new("RGB", (0, 5)))


SAMPLES = [
    encoded(Image.fromarray(noise(10, 12)), format)
    for format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
]


@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_an_image_or_an_image_error(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(content), max_pixels=10_000).mode == "RGB"
