"""Places with images, as an indexer sees them, and the captions in files beside images."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from longclip.data.names import SEARCHED_SUFFIXES, TEXT_SUFFIXES
from longclip.data.tables.columns import strings, usual_columns
from longclip.data.text_files import decode_text
from longclip.errors import DataError, SearchError

PART = "::"
"""Between a file that holds many images and the name or number of one of them."""

SHARDS = (".tar", ".parquet")
"""How files end that hold many images and may be many themselves."""

LISTS = (".jsonl", ".csv", ".tsv")
"""How tables end whose rows name files, which may be anywhere."""

MAX_CAPTION_BYTES = 64 << 10
"""A description has a hundredth of that; the rest of a larger file is not read."""


@dataclass(frozen=True, slots=True)
class Item:
    """An image that is there, not yet read.

    Attributes:
        uri: see `longclip.search.Facts`.
        bytes: size of the image file; None where only reading it would tell.
        mtime_ns: when it, or the caption beside it, was last changed; 0 where that is not known.
        place: what its source needs to read it.
    """

    uri: str
    bytes: int | None
    mtime_ns: int
    place: Any = None


class UnlistedKind(Enum):
    """A kind of what could not be looked into; each is counted by itself."""

    PLACE = "a folder, an archive or a table"
    LINK = "a link that leads nowhere, a pipe, a device"
    IMAGE = "an image"


@dataclass(frozen=True)
class Unlisted:
    """A part of a source that could not be looked into.

    Attributes:
        prefix: how the `uri` of everything in it begins. What is known of that is kept.
        reason: why, for the user.
        place: what it is called, where that is not `prefix`.
        kind: what it is.
    """

    prefix: str
    reason: str
    place: str = ""
    kind: UnlistedKind = UnlistedKind.PLACE


@dataclass(frozen=True)
class Unusable:
    """An image, or a place with images, that could not be used.

    Attributes:
        uri: see `longclip.search.Facts`.
        reason: why, for the user.
        lasting: it will be so again until the file itself is another one.
    """

    uri: str
    reason: str
    lasting: bool = False


@dataclass(frozen=True)
class Listing:
    """Contents of a source at this moment; `notes` are what the user should know of it."""

    items: Sequence[Item]
    unlisted: Sequence[Unlisted] = ()
    notes: Sequence[str] = ()


class ImageSource(Protocol):
    """A place with images, which may change between two runs.

    Its methods may be called by several threads at once.
    """

    @property
    def name(self) -> str:
        """Name that opens it again from any directory; kept with each of its images."""
        ...

    def list(self) -> Listing:
        """List what is in it, without reading any image.

        Raises:
            SearchError: where the whole of it is not there or cannot be read.
        """
        ...

    def read(self, item: Item) -> bytes:
        """Return the image file. Raises OSError or ValueError where it cannot be had."""
        ...

    def caption(self, item: Item) -> str | None:
        """Return the text that comes with an image, where there is one."""
        ...


@contextmanager
def search_errors() -> Iterator[None]:
    """Raise as SearchError what the data package says of a place; also for whole functions."""
    try:
        yield
    except DataError as error:
        raise SearchError(str(error)) from error


def container_of(uri: str) -> str | None:
    """Return the file that holds the image and others; None for a file of its own."""
    container, part, _ = uri.rpartition(PART)
    return container if part else None


def folder_and_name(uri: str) -> tuple[str, str]:
    """Return `a/b` and `c.jpg` of `a/b/c.jpg`, `a/x.tar::0` and `1.jpg` of `a/x.tar::0/1.jpg`."""
    container, part, member = uri.rpartition(PART)
    if part and "/" not in member:
        return container, member
    folder, _, name = uri.rpartition("/")
    return folder, name


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in SEARCHED_SUFFIXES


def caption_beside(image: str, is_there: Callable[[str], bool]) -> str | None:
    """Return the name of the file with the caption of an image: `sea.txt` or `sea.json`.

    Cameras and old disks write `SEA.TXT`.

    Args:
        image: name of the image: `sea.jpg`.
        is_there: tells whether there is a file of a name.
    """
    stem = os.path.splitext(image)[0]
    names = (stem + case for suffix in TEXT_SUFFIXES for case in (suffix, suffix.upper()))
    return next(filter(is_there, names), None)


def caption_of(content: bytes, name: str) -> str | None:
    """Return the text in a caption file, in JSON the first under one of the usual keys, or None.

    Args:
        content: of the file; several texts under a key are joined, damaged JSON has none.
        name: of the file.
    """
    text = decode_text(content).strip()
    if not name.lower().endswith(".json"):
        return text or None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # the latter where it is nested too deeply
        return None
    return caption_of_row(fields) if isinstance(fields, dict) else None


def caption_of_row(fields: Mapping[str, Any]) -> str | None:
    """Return the texts of the first usual column that has any, joined; a long one goes before."""
    names = [*usual_columns("long", fields), *usual_columns("short", fields)]
    found = (strings(fields[name]) for name in names)
    return next((" ".join(text.strip() for text in texts) for texts in found if texts), None)
