"""Tar shards: images are read at their place in the file, nothing is unpacked."""

import os
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from longclip.data.storage import file_info, is_url, read_part
from longclip.data.tar.members import WITH_HOLES, TarMember
from longclip.data.tar.samples import NO_PICTURE, read_samples
from longclip.errors import SearchError
from longclip.search.sources.image_source import (
    MAX_CAPTION_BYTES,
    PART,
    Item,
    Listing,
    Unlisted,
    UnlistedKind,
    caption_of,
    is_image_name,
    search_errors,
)


class TarImage(NamedTuple):
    """An image in a tar file.

    Attributes:
        offset: where its content begins.
        size: bytes of that.
        mtime_ns: when it, or one of its texts, was last changed.
        texts: the members with these, .txt before .json.
    """

    offset: int
    size: int
    mtime_ns: int
    texts: tuple[TarMember, ...]


class TarImages(NamedTuple):
    """The images of a tar file.

    Attributes:
        by_name: those that can be read. Of several with one name the second is `sea.jpg#2`.
        left_out: the others, and why.
        damage: what is wrong with the file; empty where it is whole.
    """

    by_name: dict[str, TarImage]
    left_out: dict[str, str]
    damage: str


class TarSource:
    """The images in one tar file, on disk or in object storage.

    Args:
        place: path or URL.
    """

    def __init__(self, place: str) -> None:
        self.name = place if is_url(place) else os.path.abspath(place)

    def list(self) -> Listing:
        """Read the headers; of a file that is cut off, those before that."""
        images = tar_images(self.name)
        items = [
            Item(f"{self.name}{PART}{name}", image.size, image.mtime_ns, image)
            for name, image in images.by_name.items()
        ]
        unlisted = [
            Unlisted(f"{self.name}{PART}{name}", reason, kind=kind)
            for name, reason in images.left_out.items()
            for kind in [UnlistedKind.IMAGE if reason == WITH_HOLES else UnlistedKind.LINK]
        ]
        if images.damage:
            unlisted.append(Unlisted(self.name + PART, images.damage))
        return Listing(items, unlisted)

    def read(self, item: Item) -> bytes:
        """Return the image's bytes."""
        return read_image(self.name, item.place)

    def caption(self, item: Item) -> str | None:
        """Return the .txt texts of the same sample, or else one in its .json."""
        captions: list[str] = []
        for member in item.place.texts:
            if captions and member.name.lower().endswith(".json"):
                break
            size = min(member.size, MAX_CAPTION_BYTES)
            try:
                found = caption_of(read_part(self.name, member.offset, size), member.name)
            except OSError:
                continue
            if found and found not in captions:
                captions.append(found)
        return " ".join(captions) or None


def read_image(place: str, image: TarImage) -> bytes:
    """Return an image of a tar file; raise OSError where the file ends before that."""
    content = read_part(place, image.offset, image.size)
    if len(content) != image.size:
        raise OSError(f"{place} has been cut off; fetch it again")
    return content


@search_errors()
def tar_images(place: str) -> TarImages:
    """Return the images of a tar file.

    Raises:
        SearchError: if it is not there or no tar file.
    """
    return _tar_images(place, file_info(place).stamp)


@lru_cache(maxsize=8)
def _tar_images(place: str, stamp: str) -> TarImages:
    """Read a file once; its stamp is a key as well, so that a changed file is read again."""
    try:
        found = read_samples(place)
    except OSError as error:
        raise SearchError(f"{place} cannot be read: {error.strerror or error}") from None
    images: dict[str, TarImage] = {}
    times: Counter[str] = Counter()
    for sample in found.samples:
        for picture in (sample.picture, *sample.others):
            times[picture.name] += 1
            again = f"#{times[picture.name]}" if times[picture.name] > 1 else ""
            changed = max(_nanoseconds(each.mtime) for each in (picture, *sample.texts))
            images[picture.name + again] = TarImage(
                picture.offset, picture.size, changed, sample.texts
            )
    left_out = {
        name: reason
        for reason, names in found.left_out.items()
        for name in names
        if reason != NO_PICTURE and is_image_name(name)
    }
    return TarImages(images, left_out, found.damage)


def _nanoseconds(seconds: float) -> int:
    """Return nanoseconds since 1970; 0 for what is no time of a file, such as NaN."""
    return int(seconds * 1e9) if 0 <= seconds < 2**33 else 0
