"""Images that are files of their own: on disk, in object storage, in any file system at a URL."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longclip.data.storage import (
    changed_ns,
    file_system,
    is_hidden,
    is_url,
    latest,
    list_below,
    list_matching,
    read_part,
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
    is_image_name,
    search_errors,
)


class _FileItems:
    """Images whose `uri` is their path or URL; their `place` is that of the caption beside them."""

    def read(self, item: Item) -> bytes:
        """Read the file."""
        return read_url(item.uri) if is_url(item.uri) else Path(item.uri).read_bytes()

    def caption(self, item: Item) -> str | None:
        """Return the text of the file beside it."""
        place = item.place
        # Only of a file: a pipe would be waited for.
        if place is None or not (is_url(place) or os.path.isfile(place)):
            return None
        try:
            content = read_part(place, 0, MAX_CAPTION_BYTES)
        except OSError:  # it was there a moment ago; the image is still an image
            return None
        return caption_of(content, place)


class FolderSource(_FileItems):
    """Images in a folder and the folders in it, but not what is hidden.

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


class FileSource(_FileItems):
    """One image file on disk."""

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


class StorageSource(_FileItems):
    """Images below a URL, or one image: `s3://bucket/photos`, `gs://…`, `az://…`."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    @search_errors()
    def list(self) -> Listing:
        """List the storage once."""
        files, path = file_system(self.name)
        found = list_below(self.name, files, path)
        if not found:
            # An empty folder and a wrong address look the same: object storage has no folders.
            raise SearchError(f"{self.name}: there is nothing; check the address")
        names = [
            name
            for name in found
            if name == path or (is_image_name(name) and not is_hidden(name[len(path) :]))
        ]
        shards = sum(name.endswith(SHARDS) for name in found)
        if shards and not names:
            raise SearchError(
                f"{self.name} holds no images but {shards:,} shards; name those, in quotes: "
                f"'{self.name}/*{SHARDS[0]}'"
            )
        return Listing(_stored_items(files, found, names))


class StoragePattern(StorageSource):
    """Image files that a pattern matches, such as `s3://bucket/photos/2024*.jpg`.

    They are one source, as a request for each would take as long as listing the whole folder.
    """

    @search_errors()
    def list(self) -> Listing:
        """List each folder that may hold some once."""
        files, path = file_system(self.name)
        names, found = list_matching(self.name, files, path)
        return Listing(_stored_items(files, found, [name for name in names if is_image_name(name)]))


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
                # No prefix where the name is not how each `uri` in it begins: a list names files
                # that are elsewhere, and no URL begins with the pattern that it matches.
                is_pattern = is_url(part.name) and set("*?[") & set(part.name)
                prefix = "" if is_pattern or part.name.endswith(".jsonl") else part.name
                unlisted.append(Unlisted(prefix, str(error), part.name))
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


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """Return device and inode, the same by whichever path a folder is reached."""
    try:
        about = os.stat(folder)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links, for example
        return False


def _list_files(
    entries: Sequence["os.DirEntry[str]"], items: list[Item], unlisted: list[Unlisted]
) -> None:
    """Add the images among the entries of one folder, and those that cannot be looked at."""
    captions = {
        entry.name: entry for entry in entries if entry.name.lower().endswith(CAPTION_SUFFIXES)
    }
    for entry in entries:
        is_image = is_image_name(entry.name)
        name = caption_beside(entry.name, captions.__contains__) if is_image else None
        caption = captions[name] if name else None
        try:
            if not is_image:
                # A link that leads nowhere: maybe to a folder on a disk that is not connected.
                if entry.is_symlink():
                    entry.stat()
                continue
            about = entry.stat()
            if not stat.S_ISREG(about.st_mode):
                continue
            changed = latest(about.st_mtime_ns, caption.stat().st_mtime_ns if caption else 0)
        except OSError as error:
            prefix = entry.path if is_image else f"{entry.path}/"
            unlisted.append(Unlisted(prefix, error.strerror or str(error)))
            continue
        items.append(Item(entry.path, about.st_size, changed, caption.path if caption else None))


def _stored_items(files: Any, found: Mapping[str, dict[str, Any]], names: list[str]) -> list[Item]:
    """Return the images with these names, and the captions beside them.

    Args:
        files: the fsspec file system.
        found: all files that were listed with them, by name, with their facts.
        names: those of images.
    """
    items = []
    for name in names:
        beside = caption_beside(name, found.__contains__)
        changed = max(changed_ns(found[name]), changed_ns(found[beside]) if beside else 0)
        place = files.unstrip_protocol(beside) if beside else None
        size = int(found[name]["size"])
        items.append(Item(files.unstrip_protocol(name), size, changed, place))
    return items
