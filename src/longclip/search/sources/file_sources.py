"""Folders and single files on disk.

Images in object storage and other file systems at URLs.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from longclip.data.names import SEARCHED_SUFFIXES
from longclip.data.storage import (
    changed_ns,
    file_system,
    is_hidden,
    is_url,
    latest,
    list_below,
    list_matching,
    read_url,
)
from longclip.errors import SearchError
from longclip.search.sources.image_source import (
    CAPTION_SUFFIXES,
    MAX_CAPTION_BYTES,
    SHARDS,
    ImageSource,
    Item,
    Listing,
    Unlisted,
    caption_beside,
    caption_of,
    search_errors,
)


class _Files:
    """Image files, whose `uri` is their path."""

    def read(self, item: Item) -> bytes:
        """Read the file."""
        return Path(item.uri).read_bytes()

    def caption(self, item: Item) -> str | None:
        """Return the text of the file beside it."""
        return _beside(item)


class FolderSource(_Files):
    """All images in a folder and the folders in it, but not what is hidden.

    Args:
        folder: where to start.
        without: a folder that is left out, such as the database itself.
    """

    def __init__(self, folder: str | Path, without: str | Path | None = None) -> None:
        self.name = os.path.abspath(folder)
        self._without = _identity(without) if without is not None else None

    def list(self) -> Listing:
        """Walk through the folders, each once even where links lead to it again."""
        try:
            os.scandir(self.name).close()
        except OSError as error:
            raise SearchError(
                f"{self.name} cannot be read: {error.strerror}; is the disk connected?"
            ) from None
        items: list[Item] = []
        unlisted: list[Unlisted] = []
        waiting, seen = [self.name], {self._without}
        while waiting:
            folder = waiting.pop()
            identity = _identity(folder)
            if identity in seen and identity is not None:
                continue
            seen.add(identity)
            try:
                with os.scandir(folder) as entries:
                    shown = [entry for entry in entries if not entry.name.startswith(".")]
            except OSError as error:
                unlisted.append(Unlisted(f"{folder}/", error.strerror or str(error)))
                continue
            waiting.extend(entry.path for entry in shown if _is_folder(entry))
            _list_files(shown, items, unlisted)
        items.sort(key=lambda item: item.uri)
        return Listing(items, unlisted)


class FileSource(_Files):
    """One image file."""

    def __init__(self, path: str | Path) -> None:
        self.name = os.path.abspath(path)

    def list(self) -> Listing:
        """Return the file, whatever its suffix."""
        caption = caption_beside(self.name, os.path.isfile)
        try:
            about = os.stat(self.name)
            changed = latest(about.st_mtime_ns, os.stat(caption).st_mtime_ns if caption else 0)
        except (OSError, ValueError) as error:  # the latter where no file can have such a name
            reason = getattr(error, "strerror", None) or error
            raise SearchError(f"{self.name} cannot be read: {reason}") from None
        if not stat.S_ISREG(about.st_mode):
            raise SearchError(f"{self.name} is no file")
        return Listing([Item(self.name, about.st_size, changed, caption)])


class JoinedSource:
    """Several places under one name, such as everything that a pattern matches."""

    def __init__(self, name: str, parts: Sequence[ImageSource]) -> None:
        self.name = name
        self.parts = parts

    def list(self) -> Listing:
        """List all that is in them; one that cannot be read at all is `unlisted`."""
        items: list[Item] = []
        unlisted: list[Unlisted] = []
        for part in self.parts:
            try:
                listing = part.list()
            except SearchError as error:
                unlisted.append(Unlisted(_common_prefix(part), str(error), part.name))
                continue
            items += (
                Item(item.uri, item.bytes, item.mtime_ns, (part, item)) for item in listing.items
            )
            unlisted += listing.unlisted
        return Listing(items, unlisted)

    def read(self, item: Item) -> bytes:
        """Read an image as its part does."""
        part, inner = item.place
        content: bytes = part.read(inner)
        return content

    def caption(self, item: Item) -> str | None:
        """Return the text as the part does."""
        part, inner = item.place
        caption: str | None = part.caption(inner)
        return caption


def _common_prefix(source: ImageSource) -> str:
    """Return how each `uri` of a source begins; nothing where its name does not tell.

    A list names files that are elsewhere, and no URL begins with the pattern that it matches.
    """
    is_pattern = is_url(source.name) and set("*?[") & set(source.name)
    return "" if is_pattern or source.name.endswith(".jsonl") else source.name


class _Identity(NamedTuple):
    device: int
    inode: int


def _identity(folder: str | Path) -> _Identity | None:
    try:
        about = os.stat(folder)
    except OSError:
        return None
    return _Identity(about.st_dev, about.st_ino)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _list_files(
    entries: Sequence["os.DirEntry[str]"], items: list[Item], unlisted: list[Unlisted]
) -> None:
    beside = {
        entry.name: entry for entry in entries if entry.name.lower().endswith(CAPTION_SUFFIXES)
    }
    for entry in entries:
        if os.path.splitext(entry.name)[1].lower() not in SEARCHED_SUFFIXES:
            unlisted += _folder_that_is_away(entry)
            continue
        name = caption_beside(entry.name, beside.__contains__)
        caption = beside[name] if name else None
        try:
            about = entry.stat()
            if not stat.S_ISREG(about.st_mode):
                continue
            changed = latest(about.st_mtime_ns, caption.stat().st_mtime_ns if caption else 0)
        except OSError as error:
            unlisted.append(Unlisted(entry.path, error.strerror or str(error)))
            continue
        path = caption.path if caption else None
        items.append(Item(entry.path, about.st_size, changed, path))


def _folder_that_is_away(entry: "os.DirEntry[str]") -> list[Unlisted]:
    """A link that leads nowhere: maybe to a folder on a disk that is not connected."""
    try:
        if entry.is_symlink():
            entry.stat()
    except OSError as error:
        return [Unlisted(f"{entry.path}/", error.strerror or str(error))]
    return []


def _beside(item: Item) -> str | None:
    if item.place is None or not os.path.isfile(item.place):  # a pipe would be waited for
        return None
    try:
        with open(item.place, "rb") as file:
            content = file.read(MAX_CAPTION_BYTES)
    except OSError:  # it was there a moment ago; the image is still an image
        return None
    return caption_of(content, item.place)


class StorageSource:
    """All images below a URL, or one image: `s3://bucket/photos`, `gs://…`, `az://…`."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    @search_errors()
    def list(self) -> Listing:
        """List the storage once."""
        files, path = file_system(self.name)
        found = list_below(self.name, files, path)
        if not found:
            raise SearchError(f"{self.name}: there is nothing; check the address")
        names = [
            name
            for name in found
            if name == path or (_is_image(name) and not is_hidden(name[len(path) :]))
        ]
        shards = sum(name.endswith(SHARDS) for name in found)
        if shards and not names:
            raise SearchError(
                f"{self.name} holds no images but {shards:,} shards; name those, in quotes: "
                f"'{self.name}/*{SHARDS[0]}'"
            )
        return Listing(_items(files, found, names))

    def read(self, item: Item) -> bytes:
        """Fetch the file."""
        return read_url(item.uri)

    def caption(self, item: Item) -> str | None:
        """Return the text of the file beside it."""
        if item.place is None:
            return None
        try:
            content = read_url(item.place, 0, MAX_CAPTION_BYTES)
        except OSError:
            return None
        return caption_of(content, item.place)


class StoragePattern(StorageSource):
    """The image files that a pattern matches, listed together: `s3://bucket/photos/2024*.jpg`."""

    @search_errors()
    def list(self) -> Listing:
        """List each folder that may hold some once."""
        files, path = file_system(self.name)
        names, found = list_matching(self.name, files, path)
        return Listing(_items(files, found, [name for name in names if _is_image(name)]))


def _items(files: Any, found: Mapping[str, dict[str, Any]], names: list[str]) -> list[Item]:
    """Return the images with these names, and the captions beside them."""
    items = []
    for name in names:
        beside = caption_beside(name, found.__contains__)
        changed = max(changed_ns(found[name]), changed_ns(found[beside]) if beside else 0)
        place = files.unstrip_protocol(beside) if beside else None
        size = int(found[name]["size"])
        items.append(Item(files.unstrip_protocol(name), size, changed, place))
    return items


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SEARCHED_SUFFIXES
