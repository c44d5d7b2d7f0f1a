"""From an image file to what the encoder takes, what the table keeps, and what the page shows."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import ImageError, RetryableImageError
from longclip.inputs import decode_image
from longclip.inputs.images import MAX_PIXELS
from longclip.search.metadata import Metadata, read_metadata

_QUALITY = 80


@dataclass(frozen=True)
class Decoding:
    """How images are decoded.

    Attributes:
        pixels: the model's preprocessing, from RGB to uint8 [H, W, 3].
        thumbnail: longest side of the small JPEG.
        max_pixels: the largest width · height to accept.
    """

    pixels: Callable[[Image.Image], NDArray[np.uint8]]
    thumbnail: int = 256
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image that can be embedded; width and height upright, in pixels of the file."""

    metadata: Metadata
    width: int
    height: int
    pixels: NDArray[np.uint8] = field(repr=False)
    thumbnail: bytes = field(repr=False)


def decode(content: bytes, how: Decoding) -> Decoded:
    """Decode an image file.

    Every pixel of it is decoded, also where a quarter of them would do for a JPEG: embeddings are
    those of `CLIP.encode_image`, whoever makes them.

    Raises:
        ImageError: if the file cannot be used; the message does not name it. A
            `RetryableImageError` where it may be usable another time.
    """
    try:
        image = decode_image(content, max_pixels=how.max_pixels)
        pixels = how.pixels(image)
    except ImageError as error:
        # Of its own kind: what is too large or lacks a decoder today may be read tomorrow.
        raise type(error)(str(error).removeprefix(f"the image of {len(content)} bytes: ")) from None
    except MemoryError:
        raise RetryableImageError(
            "there is not enough memory to decode it; scale it down"
        ) from None
    small = thumbnail(image, how.thumbnail)
    return Decoded(read_metadata(content), image.width, image.height, pixels, small)


@contextmanager
def pillow_opens(max_pixels: int) -> Iterator[None]:
    """Meanwhile Pillow opens images up to this width · height; alone it stops at 179 million.

    What it has to say of single files is kept quiet: it is in their reasons, or does not matter.
    """
    before = Image.MAX_IMAGE_PIXELS
    if before is not None:
        Image.MAX_IMAGE_PIXELS = max(before, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def thumbnail(image: Image.Image, side: int) -> bytes:
    """A JPEG of an RGB image, its longest side at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
