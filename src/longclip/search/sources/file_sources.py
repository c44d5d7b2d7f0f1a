"""Images that are files of their own: on disk, in object storage, in any file system at a URL."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from longclip.data.file_tree import FoundFile, walk
from longclip.data.names import TEXT_SUFFIXES
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
    LISTS,
    MAX_CAPTION_BYTES,
    SHARDS,
    ImageSource,
    Item,
    Listing,
    Unlisted,
    UnlistedKind,
    caption_beside,
    caption_of,
    is_image_name,
    search_errors,
)
from longclip.util.regular_files import no_file_reason, open_regular


class _FileItems:
    """Images whose `uri` is their path or URL; their `place` is that of the caption beside them."""

    def read(self, item: Item) -> bytes:
        """Read the file."""
        return read_url(item.uri) if is_url(item.uri) else read_file(item.uri)

    def caption(self, item: Item) -> str | None:
        """Return the text of the file beside it."""
        if item.place is None:
            return None
        try:
            content = read_part(item.place, 0, MAX_CAPTION_BYTES)
        except OSError:  # it was there a moment ago; the image is still an image
            return None
        return caption_of(content, item.place)


class FolderSource(_FileItems):
    """Images in a folder and the folders in it, but not what is hidden.

    Args:
        folder: where to start.
        without: a folder that is left out, such as the database itself.
    """

    def __init__(self, folder: str | Path, without: str | Path | None = None) -> None:
        self.name = os.path.abspath(folder)
        self._without = without

    def list(self) -> Listing:
        """Walk through the folders, each once even where links lead to it again."""
        items: list[Item] = []
        unlisted: list[Unlisted] = []
        shard = ""
        try:
            for content in walk(self.name, _is_wanted, self._without):
                items += _images_of(content.files)
                shard = shard or next((n for n in content.others if n.endswith(SHARDS)), "")
                unlisted += (
                    Unlisted(
                        path,
                        reason,
                        path.rstrip("/") if is_link else path,
                        UnlistedKind.LINK if is_link else UnlistedKind.PLACE,
                    )
                    for path, reason, is_link in content.left_out
                )
        except OSError as error:
            reason = error.strerror or str(error)
            raise SearchError(
                f"{self.name} cannot be read: {reason}; is the disk connected?"
            ) from None
        items.sort(key=lambda item: item.uri)
        notes = []
        if shard and not items:
            notes.append(
                f"{self.name} holds no images of its own but files with many in them, such as "
                f"{shard}: name those, in quotes: '{self.name}/**/*{os.path.splitext(shard)[1]}'"
            )
        return Listing(items, unlisted, notes)


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
        if not stat.S_ISREG(about.st_mode) or no_file_reason(about):
            what = no_file_reason(about)
            raise SearchError(f"{self.name} is no file" + (f" but {what}" if what else ""))
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
        notes: list[str] = []
        for part in self.parts:
            try:
                listing = part.list()
            except SearchError as error:
                # No prefix where the name is not how each `uri` in it begins: a list names files
                # that are elsewhere, and no URL begins with the pattern that it matches.
                is_pattern = is_url(part.name) and set("*?[") & set(part.name)
                prefix = "" if is_pattern or part.name.endswith(LISTS) else part.name
                kind = UnlistedKind.LINK if isinstance(part, FileSource) else UnlistedKind.PLACE
                unlisted.append(Unlisted(prefix, str(error), part.name, kind))
                continue
            items += (
                Item(item.uri, item.bytes, item.mtime_ns, (part, item)) for item in listing.items
            )
            unlisted += listing.unlisted
            notes += listing.notes
        return Listing(items, unlisted, notes)

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


def read_file(path: str) -> bytes:
    """Return a file on disk; raise OSError where there is none, or no regular one."""
    with open_regular(path) as file:
        return file.read()


def _is_wanted(name: str) -> bool:
    return is_image_name(name) or name.lower().endswith(TEXT_SUFFIXES)


def _images_of(files: Sequence[FoundFile]) -> Iterator[Item]:
    """Yield the images among the files of one folder, with the captions beside them."""
    by_name = {file.name: file for file in files}
    for file in files:
        if is_image_name(file.name):
            name = caption_beside(file.name, by_name.__contains__)
            times = (each.about.st_mtime_ns for each in (file, *((by_name[name],) if name else ())))
            caption = by_name[name].path if name else None
            yield Item(file.path, file.about.st_size, latest(*times), caption)


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
