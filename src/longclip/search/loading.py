"""Images read, told apart and decoded by threads, ahead of the encoder."""

import hashlib
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from longclip._threads import in_order
from longclip.errors import ImageError, RetryableImageError
from longclip.search.decoding import Decoding, decode
from longclip.search.errors import Bad
from longclip.search.planning import Task
from longclip.search.rows import Facts
from longclip.search.sources.image_source import folder_and_name

LARGEST = 512 << 20
"""Bytes of an image file that are taken into memory."""
_MOST_WORKERS = 32
_NO_PIXELS: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Content:
    """An image file that has been read."""

    task: Task
    caption: str | None
    sha256: str
    content: bytes = field(repr=False)

    def same(self) -> "Same":
        """As a copy of what is in the database."""
        return Same(self.task, self.sha256, len(self.content), self.caption)


@dataclass(frozen=True, eq=False)
class Fresh:
    """An image that is to be embedded."""

    task: Task
    facts: Facts
    pixels: NDArray[np.uint8] = field(repr=False)
    thumbnail: bytes = field(repr=False)

    def without_pixels(self) -> "Fresh":
        """The same, for when the pixels go another way."""
        return replace(self, pixels=_NO_PIXELS)


@dataclass(frozen=True)
class Same:
    """An image whose content is in the database already, or is on its way there."""

    task: Task
    sha256: str
    bytes: int
    caption: str | None


class Loader:
    """What a thread does for one image.

    Args:
        how: images are decoded.
        hashes: `sha256` of what is in the database.

    Attributes:
        broken: by `sha256`, the first of each of the files that could not be decoded.
    """

    def __init__(self, how: Decoding, hashes: set[bytes]) -> None:
        self._how = how
        self._hashes = hashes
        self._lock = threading.Lock()
        self.broken: dict[str, Bad] = {}

    def __call__(self, task: Task) -> Fresh | Same | Bad:
        """Read it, and decode it if its content is new."""
        content = read(task)
        if isinstance(content, Bad):
            return content
        sha256 = content.sha256
        if sha256 in self.broken:
            return replace(self.broken[sha256], uri=task.item.uri)
        if not self._is_new(sha256):
            return content.same()
        image = prepare(content, self._how)
        if isinstance(image, Bad):
            self.broken[sha256] = image
        return image

    def forget(self, hashes: Iterable[str]) -> None:
        """Take these for new, as they are no longer in the database."""
        with self._lock:
            self._hashes.difference_update(map(hash_key, hashes))

    def _is_new(self, sha256: str) -> bool:
        key = hash_key(sha256)
        with self._lock:
            is_new = key not in self._hashes
            self._hashes.add(key)
        return is_new


def read(task: Task) -> Content | Bad:
    """An image file in memory."""
    item = task.item
    if item.bytes is not None and item.bytes > LARGEST:
        reason = f"{item.bytes:,} bytes are more than any photo has; leave it out"
        return Bad(item.uri, reason, lasting=True)
    try:
        content = task.source.read(item)
        caption = task.source.caption(item)
    except OSError as error:
        return Bad(item.uri, f"it cannot be read: {error.strerror or error}")
    except MemoryError:
        return Bad(item.uri, "there is not enough memory to read it")
    except (ValueError, LookupError) as error:
        return Bad(item.uri, str(error))
    # JSON may hold half a character, which no table takes.
    caption = caption and caption.encode("utf-8", "replace").decode()
    return Content(task, caption, hashlib.sha256(content).hexdigest(), content)


def prepare(content: Content, how: Decoding) -> Fresh | Bad:
    """Decode an image file."""
    task, item = content.task, content.task.item
    try:
        decoded = decode(content.content, how)
    except RetryableImageError as error:
        return Bad(item.uri, str(error))
    except ImageError as error:
        return Bad(item.uri, str(error), lasting=True)
    folder, name = folder_and_name(item.uri)
    about = decoded.metadata
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
        format=about.format,
        taken=about.taken,
        latitude=about.latitude,
        longitude=about.longitude,
        camera=about.camera,
        caption=content.caption,
    )
    return Fresh(task, facts, decoded.pixels, decoded.thumbnail)


def hash_key(sha256: str) -> bytes:
    """Half of a hash, which a set of millions holds in half the memory."""
    return bytes.fromhex(sha256)[:16]


def load_all(
    loader: Loader, tasks: Sequence[Task], *, ahead: int, workers: int | None
) -> Generator[Fresh | Same | Bad]:
    """All images in their order; the next `ahead` are ready while a batch is embedded."""
    return in_order(loader, tasks, ahead=ahead, workers=workers, most=_MOST_WORKERS)
