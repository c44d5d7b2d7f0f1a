"""Decoding of image files of every kind to plain 8-bit RGB, or to an error naming the fault."""

import importlib
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from longclip.errors import ImageError, MissingDecoderError, RetryableImageError
from longclip.image.metadata import WithoutSpans, find_metadata, leave_out_long_parts
from longclip.spec import MAX_PIXELS
from longclip.util.regular_files import open_regular

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""The formats that are read, by Pillow's names, and HEIC with pillow-heif.

Pillow knows thirty more. Some are hardly tested, and for PostScript it starts a program.
"""

_LARGER = "`longclip index` takes larger ones with --max-pixels"

_HEIC_HEAD_BYTES = 256
"""Length of what is read of a file to find its brands, whose list is never longer."""

_HEIC_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))

_ROWS_AT_ONCE = 256
"""Rows that are converted at once: the steps on the way would each take as much as the picture."""

_TIFF_BITS = 258
_TIFF_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0

_ORIENTATION_TAG = 0x0112
# Turns that put a picture upright, by the value of its EXIF orientation; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_heic(head: bytes) -> bool:
    """Return whether a file that begins so is HEIC: by the brands in `ftyp` (ISO/IEC 23008-12).

    AVIF, which Pillow reads itself, comes in the same container with a brand of its own.
    """
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    # The first brand, the number of its version, and all brands that the file is good for.
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
    return bool(brands & _HEIC_BRANDS) and not brands & _AVIF_BRANDS


def open_image(file: BinaryIO) -> Image.Image:
    """Open a file as `PIL.Image.open` does, if it is one of FORMATS or HEIC.

    No pixel is decoded yet. Of the metadata of JPEG and PNG files only EXIF and XMP are looked at,
    see `longclip.image.metadata`. The plugin for HEIC is not registered with Pillow: for other code
    in this process nothing changes, and it is not asked for AVIF, which it takes for its own but
    may not be able to decode.

    Raises:
        MissingDecoderError: if it is HEIC and pillow-heif is not installed.
        OSError: if it is no image, or its header is damaged.
        PIL.Image.DecompressionBombError: if it claims to be very large.
    """
    head = file.read(_HEIC_HEAD_BYTES)
    file.seek(0)
    if not is_heic(head):
        metadata = find_metadata(file)
        file.seek(0)
        if metadata.spans:
            file = io.BufferedReader(WithoutSpans(file, metadata.spans))
        image = Image.open(file, formats=FORMATS)
        image.info |= metadata.info()
        if image.format == "TIFF":
            leave_out_long_parts(image, file)
        return image
    try:
        heif: Any = importlib.import_module("pillow_heif")
        opened: Image.Image = heif.HeifImageFile(file)
    except ModuleNotFoundError:
        raise MissingDecoderError(
            "HEIC takes a plugin of Pillow: pip install pillow-heif, or convert it to JPEG"
        ) from None
    except SyntaxError as error:  # what Pillow has its plugins raise
        raise OSError(str(error)) from error
    return opened


def decode_image(
    source: str | Path | bytes | Image.Image, *, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Return the picture in mode RGB, upright, without metadata.

    EXIF orientation is applied; transparency is put on white, as viewers show it; 16 bits are
    scaled to 8; of an animation the first frame is taken. The width and height that the file claims
    are checked before any pixel is decoded. An image that is passed in is never changed.

    Args:
        source: a path, the bytes of an image file, or an open image.
        max_pixels: the largest width · height to accept. Pillow refuses very large files on its
            own (`PIL.Image.MAX_IMAGE_PIXELS`), whatever is given here.

    Raises:
        ImageError: if the file is missing, empty, no image, truncated or too large, or HEIC where
            pillow-heif is not installed.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, "the image", max_pixels)
    if isinstance(source, bytes):
        return _decode_file(io.BytesIO(source), f"the image of {len(source)} bytes", max_pixels)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(
            f"a picture is a path, bytes of a file or a PIL image, not {type(source).__name__}; "
            "of an array make one with PIL.Image.fromarray"
        )
    try:
        with open_regular(source) as file:
            return _decode_file(file, str(source), max_pixels)
    except ImageError:  # a ValueError too, but not the one below
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{source}: there is no such file; check the path") from error
    except OSError as error:
        raise ImageError(
            f"{source}: the file cannot be opened ({error.strerror}); check the path and its rights"
        ) from error
    except ValueError as error:  # the path holds a null character
        raise ImageError(f"{source}: this is no path ({error}); check it") from error


def _decode_file(file: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    try:
        if not file.read(1):
            raise ImageError(f"{name}: the file is empty; fetch it again or leave it out")
        file.seek(0)
        with open_image(file) as image:
            return _upright_rgb(image, name, max_pixels)
    except MissingDecoderError as error:
        raise MissingDecoderError(f"{name}: {error}") from None
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not an image of a format that is read ({', '.join(FORMATS)}, HEIC); convert "
            "it to JPEG or PNG, or leave it out"
        ) from error
    except Image.DecompressionBombError as error:
        raise RetryableImageError(
            f"{name}: too large to be decoded safely: {error}; scale it down ({_LARGER}), "
            "or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders fail on broken files in whatever way they happen to
        raise _broken(name, error) from error


def _upright_rgb(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    width, height = image.size
    if width * height > max_pixels:
        raise RetryableImageError(
            f"{name}: {width} x {height} pixels are more than the {max_pixels:,} allowed; "
            f"scale it down ({_LARGER})"
        )
    if width * height == 0:
        raise ImageError(f"{name}: {width} x {height} has no pixels; leave it out")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above: an image that was opened elsewhere comes in here
        raise _broken(name, error) from error
    rgb = _to_rgb(image, name)
    try:
        turn = _TURNS.get(int(image.getexif().get(_ORIENTATION_TAG, 1)))
    except Exception:  # a picture with broken metadata is still a picture
        turn = None
    if turn is not None:
        rgb = rgb.transpose(turn)
    if rgb.info:  # else it would be turned again when it is decoded again
        rgb = rgb.copy()
        rgb.info = {}
    return rgb


def _broken(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name}: the image data are damaged or cut off ({error}); fetch it again or leave it out"
    )


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # Pillow's own conversion would clip at 255
        # Mode I is 32 bits wide, but what files put into it are 16-bit values.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageError(
                f"{name}: pixel values from {values.min()} to {values.max()} do not fit into 16 "
                "bits; convert it to 8 or 16 bits"
            )
        # Of TIFF files Pillow leaves 12 bits as they are, and does not turn round 16 bits of which
        # the least is white.
        tags = getattr(image, "tag_v2", {})
        most = 0xFFF if tags.get(_TIFF_BITS) == (12,) else 0xFFFF
        scaled = np.empty(values.shape, np.uint8)
        for top in range(0, len(values), _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            scaled[rows] = (values[rows].astype(np.int32) * 255 + most // 2) // most
        if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
            scaled = 255 - scaled
        if image.mode != "I" and isinstance(image.info.get("transparency"), int):
            scaled[values == image.info["transparency"]] = 255
        image = Image.fromarray(scaled)
    if image.mode == "F":
        raise ImageError(
            f"{name}: floating-point pixels have no defined white; convert it to 8 or 16 bits"
        )
    if image.has_transparency_data:
        picture = Image.new("RGB", image.size)
        for top in range(0, image.height, _ROWS_AT_ONCE):
            box = (0, top, image.width, min(top + _ROWS_AT_ONCE, image.height))
            strip = image.crop(box).convert("RGBA")
            white = Image.new("RGBA", strip.size, "white")
            picture.paste(Image.alpha_composite(white, strip).convert("RGB"), box)
        return picture
    return image.convert("RGB")
