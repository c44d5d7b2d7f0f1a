"""Tar shards: images are read at their place in the file, nothing is unpacked."""

import os
from functools import lru_cache
from typing import NamedTuple

from longclip.data.storage import file_info, is_url, read_part
from longclip.data.tar import TarMember, read_members
from longclip.errors import SearchError
from longclip.search.sources.image_source import (
    MAX_CAPTION_BYTES,
    PART,
    Item,
    Listing,
    Unlisted,
    caption_beside,
    caption_of,
    is_image_name,
    search_errors,
)


class TarImage(NamedTuple):
    """An image in a tar file.

    Attributes:
        offset: where its content begins.
        size: bytes of that.
        mtime_ns: when it, or the caption beside it, was last changed.
        caption: the file with that caption.
    """

    offset: int
    size: int
    mtime_ns: int
    caption: TarMember | None


class TarSource:
    """The images in one tar file, on disk or in object storage.

    Args:
        place: path or URL.
    """

    def __init__(self, place: str) -> None:
        self.name = place if is_url(place) else os.path.abspath(place)

    def list(self) -> Listing:
        """Read the headers; of a file that is cut off, those before that."""
        images, damage = tar_images(self.name)
        items = [
            Item(f"{self.name}{PART}{name}", image.size, image.mtime_ns, image)
            for name, image in images.items()
        ]
        unlisted = [Unlisted(self.name + PART, damage)] if damage else []
        return Listing(items, unlisted)

    def read(self, item: Item) -> bytes:
        """Return the image's bytes."""
        return read_image(self.name, item.place)

    def caption(self, item: Item) -> str | None:
        """Return the text in the .txt or .json of the same sample."""
        member: TarMember | None = item.place.caption
        if member is None:
            return None
        size = min(member.size, MAX_CAPTION_BYTES)
        try:
            return caption_of(read_part(self.name, member.offset, size), member.name)
        except OSError:
            return None


def read_image(place: str, image: TarImage) -> bytes:
    """Return an image of a tar file; raise OSError where the file ends before that."""
    content = read_part(place, image.offset, image.size)
    if len(content) != image.size:
        raise OSError(f"{place} has been cut off; fetch it again")
    return content


@search_errors()
def tar_images(place: str) -> tuple[dict[str, TarImage], str]:
    """Return the images of a tar file by name, and what is wrong with it (empty where whole).

    Raises:
        SearchError: if it is not there or no tar file.
    """
    return _tar_images(place, file_info(place).stamp)


@lru_cache(maxsize=8)
def _tar_images(place: str, stamp: str) -> tuple[dict[str, TarImage], str]:
    """Read a file once; its stamp is a key as well, so that a changed file is read again."""
    try:
        members, damage = read_members(place)
    except OSError as error:
        raise SearchError(f"{place} cannot be read: {error.strerror or error}") from None
    found = {member.name: member for member in members}
    images = {}
    for name, member in found.items():
        # macOS packs a hidden `._sea.jpg` beside each `sea.jpg`, which is no image.
        if not is_image_name(name) or name.rpartition("/")[2].startswith("."):
            continue
        beside = caption_beside(name, found.__contains__)
        caption = found[beside] if beside else None
        changed = max(_nanoseconds(member.mtime), _nanoseconds(caption.mtime) if caption else 0)
        images[name] = TarImage(member.offset, member.size, changed, caption)
    return images, damage


def _nanoseconds(seconds: float) -> int:
    """Return nanoseconds since 1970; 0 for what is no time of a file, such as NaN."""
    return int(seconds * 1e9) if 0 <= seconds < 2**33 else 0
