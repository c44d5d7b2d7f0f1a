"""Images read, recognised, decoded and embedded; by threads, ahead of the encoder."""

import hashlib
import io
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import ImageError, RetryableImageError
from longclip.image.decode import decode_image
from longclip.search.config import IndexConfig
from longclip.search.database.schema import Facts
from longclip.search.indexing.exif import Metadata, read_metadata
from longclip.search.indexing.index_plan import ImageTask
from longclip.search.sources.image_source import Unusable, folder_and_name
from longclip.util.threads import in_order

MAX_IMAGE_BYTES = 512 << 20
"""Size of an image file, up to which it is taken into memory."""
_MAX_WORKERS = 32
_NO_PIXELS: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class Decoding:
    """Settings of decoding.

    Attributes:
        pixels: the model's preprocessing, from RGB to uint8 [H, W, 3].
        thumbnail: longest side of the small JPEG.
        max_pixels: the largest width · height to accept.
    """

    pixels: Callable[[Image.Image], NDArray[np.uint8]]
    thumbnail: int = IndexConfig.thumbnail
    max_pixels: int = IndexConfig.max_pixels


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image that can be embedded; width and height upright, in pixels of the file."""

    metadata: Metadata
    width: int
    height: int
    pixels: NDArray[np.uint8] = field(repr=False)
    thumbnail: bytes = field(repr=False)


def decode(content: bytes, decoding: Decoding) -> Decoded:
    """Decode an image file.

    Every pixel of it is decoded, also where a quarter of them would do for a JPEG: embeddings are
    those of all its pixels, whoever makes them.

    Raises:
        ImageError: if the file cannot be used; the message does not name it. A
            `RetryableImageError` where it may be usable another time.
    """
    try:
        image = decode_image(content, max_pixels=decoding.max_pixels)
        pixels = decoding.pixels(image)
    except ImageError as error:
        # Of its own kind: what is too large or lacks a decoder today may be read tomorrow.
        raise type(error)(str(error).removeprefix(f"the image of {len(content)} bytes: ")) from None
    except MemoryError:
        raise RetryableImageError(
            "there is not enough memory to decode it; scale it down"
        ) from None
    small = thumbnail(image, decoding.thumbnail)
    return Decoded(read_metadata(content), image.width, image.height, pixels, small)


@contextmanager
def pillow_opens(max_pixels: int) -> Iterator[None]:
    """Let Pillow open images up to this width · height; alone it stops at 179 million.

    Its warnings of single files are left out: they are in the files' reasons, or do not matter.
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
    """Return a JPEG of an RGB image, its longest side at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class FileContent:
    """An image file that has been read."""

    task: ImageTask
    caption: str | None
    sha256: str
    content: bytes = field(repr=False)

    def as_known(self) -> "KnownImage":
        """Return it as a copy of what is in the database."""
        return KnownImage(self.task, self.sha256, len(self.content), self.caption)


@dataclass(frozen=True, eq=False)
class NewImage:
    """An image that is to be embedded."""

    task: ImageTask
    facts: Facts
    pixels: NDArray[np.uint8] = field(repr=False)
    thumbnail: bytes = field(repr=False)

    def without_pixels(self) -> "NewImage":
        """Return it without its pixels, for when these go another way."""
        return replace(self, pixels=_NO_PIXELS)


@dataclass(frozen=True)
class KnownImage:
    """An image whose content is in the database already, or is on its way there."""

    task: ImageTask
    sha256: str
    bytes: int
    caption: str | None


class ImageLoader:
    """Reads and decodes images, each content once; called by several threads.

    Args:
        decoding: how images are decoded.
        hashes: `sha256` of what is in the database.

    Attributes:
        broken: by `sha256`, the first of each of the files that could not be decoded.
    """

    def __init__(self, decoding: Decoding, hashes: set[bytes]) -> None:
        self._decoding = decoding
        self._hashes = hashes
        self._lock = threading.Lock()
        self.broken: dict[str, Unusable] = {}

    def __call__(self, task: ImageTask) -> NewImage | KnownImage | Unusable:
        """Read it, and decode it if its content is new."""
        content = read(task)
        if isinstance(content, Unusable):
            return content
        sha256 = content.sha256
        if sha256 in self.broken:
            return replace(self.broken[sha256], uri=task.item.uri)
        key = hash_key(sha256)
        # Of copies that several threads hold at once, one is decoded; the others take its row.
        with self._lock:
            is_new = key not in self._hashes
            self._hashes.add(key)
        if not is_new:
            return content.as_known()
        image = prepare(content, self._decoding)
        if isinstance(image, Unusable):
            self.broken[sha256] = image
        return image

    def forget(self, hashes: Iterable[str]) -> None:
        """Take these contents for new, as they are no longer in the database."""
        with self._lock:
            self._hashes.difference_update(map(hash_key, hashes))


def read(task: ImageTask) -> FileContent | Unusable:
    """Read an image file into memory, with its caption and hash."""
    item = task.item
    if item.bytes is not None and item.bytes > MAX_IMAGE_BYTES:
        reason = f"{item.bytes:,} bytes are more than any photo has; leave it out"
        return Unusable(item.uri, reason, lasting=True)
    try:
        content = task.source.read(item)
        caption = task.source.caption(item)
    except OSError as error:
        return Unusable(item.uri, f"it cannot be read: {error.strerror or error}")
    except MemoryError:
        return Unusable(item.uri, "there is not enough memory to read it")
    except (ValueError, LookupError) as error:
        return Unusable(item.uri, str(error))
    # JSON may hold half a character, which no table takes.
    caption = caption and caption.encode("utf-8", "replace").decode()
    return FileContent(task, caption, hashlib.sha256(content).hexdigest(), content)


def prepare(content: FileContent, decoding: Decoding) -> NewImage | Unusable:
    """Decode an image file."""
    task, item = content.task, content.task.item
    try:
        decoded = decode(content.content, decoding)
    except RetryableImageError as error:
        return Unusable(item.uri, str(error))
    except ImageError as error:
        return Unusable(item.uri, str(error), lasting=True)
    folder, name = folder_and_name(item.uri)
    facts = Facts(
        uri=item.uri,
        source=task.before.source if task.before else task.source.name,
        folder=folder,
        name=name,
        sha256=content.sha256,
        bytes=len(content.content),
        mtime_ns=item.mtime_ns,
        width=decoded.width,
        height=decoded.height,
        caption=content.caption,
        **vars(decoded.metadata),
    )
    return NewImage(task, facts, decoded.pixels, decoded.thumbnail)


def hash_key(sha256: str) -> bytes:
    """Return half of a hash, which a set of millions holds in half the memory."""
    return bytes.fromhex(sha256)[:16]


def load_all(
    loader: ImageLoader, tasks: Sequence[ImageTask], *, ahead: int, workers: int | None
) -> Generator[NewImage | KnownImage | Unusable]:
    """Yield all images in their order; the next `ahead` are ready while a batch is embedded."""
    return in_order(loader, tasks, ahead=ahead, workers=workers, most=_MAX_WORKERS)
