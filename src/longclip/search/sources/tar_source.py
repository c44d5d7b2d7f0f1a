"""Tar shards: images are read at their place in the file, nothing is unpacked."""

import os
import tarfile
from functools import lru_cache
from typing import Any, NamedTuple

from longclip.errors import SearchError
from longclip.search.sources.folders import SUFFIXES
from longclip.search.sources.image_source import PART, Item, Listing, Unlisted, is_url
from longclip.search.sources.sidecars import LARGEST, caption_beside, caption_of
from longclip.search.sources.storage_source import file_info, open_file, read_url


class Member(NamedTuple):
    """A file in a tar file.

    Attributes:
        offset: where its content begins.
        size: bytes of that.
        mtime_ns: when it, or the caption beside it, was last changed.
        caption: offset, size and name of that caption.
    """

    offset: int
    size: int
    mtime_ns: int
    caption: tuple[int, int, str] | None


class TarSource:
    """The images in one tar file, on disk or in object storage.

    Args:
        place: path or URL.
    """

    def __init__(self, place: str) -> None:
        self.name = place if is_url(place) else os.path.abspath(place)

    def list(self) -> Listing:
        """Read the headers; of a file that is cut off, those before that."""
        members, damage = tar_members(self.name)
        items = [
            Item(f"{self.name}{PART}{name}", member.size, member.mtime_ns, member)
            for name, member in members.items()
        ]
        unlisted = [Unlisted(self.name + PART, damage)] if damage else []
        return Listing(items, unlisted)

    def read(self, item: Item) -> bytes:
        """The image's bytes."""
        return read_at(self.name, item.place.offset, item.place.size)

    def caption(self, item: Item) -> str | None:
        """From the .txt or .json of the same sample."""
        if item.place.caption is None:
            return None
        offset, size, name = item.place.caption
        try:
            return caption_of(read_at(self.name, offset, min(size, LARGEST)), name)
        except OSError:
            return None


def read_at(place: str, offset: int, size: int) -> bytes:
    """A stretch of a file; OSError where it ends before that."""
    if is_url(place):
        content = read_url(place, offset, offset + size)
    else:
        with open(place, "rb") as file:
            file.seek(offset)
            content = file.read(size)
    if len(content) != size:
        raise OSError(f"{place} has been cut off; fetch it again")
    return content


def tar_members(place: str) -> tuple[dict[str, Member], str]:
    """The images of a tar file by name, and what is wrong with it (empty where it is whole).

    Raises:
        SearchError: where it is not there or no tar file.
    """
    about = file_info(place)
    return _members(place, about.bytes, about.stamp)


@lru_cache(maxsize=8)
def _members(place: str, size: int | None, stamp: str) -> tuple[dict[str, Member], str]:
    """Keyed by the stamp as well: a file that has changed is read again."""
    found: dict[str, tarfile.TarInfo] = {}
    damage = ""
    try:
        with open_file(place) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in _each(tar):
                # The content of a hard link is where the file stood first.
                there = found.get(member.linkname) if member.islnk() else member
                if there and there.isreg() and not there.issparse():
                    found[member.name] = there
            # A file cut off between two members is only told by the blocks that ought to end it.
            file.seek(tar.offset)
            damage = "" if file.read(tarfile.BLOCKSIZE) else "cut off; fetch it again"
    except (tarfile.TarError, EOFError) as error:
        damage = f"damaged or cut off ({error}); fetch it again"
    except OSError as error:
        raise SearchError(f"{place} cannot be read: {error.strerror or error}") from None
    if damage and not found:
        raise SearchError(
            f"{place} is no tar file ({damage}); a compressed one (.tar.gz) has to be "
            "decompressed first, as images are read at any place of it"
        )
    images = {
        name: _with_caption(name, found)
        for name in found
        if os.path.splitext(name)[1].lower() in SUFFIXES and not _hidden(name)
    }
    if size is not None:
        whole = {name: m for name, m in images.items() if m.offset + m.size <= size}
        if len(whole) < len(images):
            damage = damage or "cut off; fetch it again"
        images = whole
    return images, damage


def _each(tar: tarfile.TarFile) -> Any:
    while True:
        try:
            member = tar.next()
        except (ValueError, OverflowError) as error:  # numbers in headers that make no sense
            raise tarfile.ReadError(str(error)) from None
        if member is None:
            return
        yield member


def _nanoseconds(seconds: float) -> int:
    """Since 1970; 0 for what is no time of a file, such as NaN."""
    return int(seconds * 1e9) if 0 <= seconds < 2**33 else 0


def _hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _with_caption(name: str, found: dict[str, tarfile.TarInfo]) -> Member:
    image = found[name]
    changed = _nanoseconds(image.mtime)
    caption = caption_beside(name, found.__contains__)
    if caption is None:
        return Member(image.offset_data, image.size, changed, None)
    beside = found[caption]
    changed = max(changed, _nanoseconds(beside.mtime))
    place = (beside.offset_data, beside.size, caption)
    return Member(image.offset_data, image.size, changed, place)
