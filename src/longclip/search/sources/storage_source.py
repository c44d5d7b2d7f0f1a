"""Object storage and other file systems at URLs, through fsspec."""

import errno
import io
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple, cast

from longclip.errors import SearchError
from longclip.search.sources.folders import SUFFIXES
from longclip.search.sources.image_source import SHARDS, Item, Listing, is_url, latest
from longclip.search.sources.sidecars import LARGEST, caption_beside, caption_of

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems call the time of the last change."""

_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", *_TIMES)
"""What file systems call a hash of the content, or that time."""

_AHEAD = 8 << 20
"""Bytes that a request asks for at least while a file is read in small pieces."""


class RemoteSource:
    """All images below a URL, or one image: `s3://bucket/photos`, `gs://…`, `az://…`."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    def list(self) -> Listing:
        """One listing of the storage."""
        files, path = file_system(self.name)
        found = _find(self.name, files, path)
        if not found:
            raise SearchError(f"{self.name}: there is nothing; check the address")
        names = [
            name
            for name in found
            if name == path or (_is_image(name) and not _is_hidden(name[len(path) :]))
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
        """From the file beside it."""
        if item.place is None:
            return None
        try:
            content = read_url(item.place, 0, LARGEST)
        except OSError:
            return None
        return caption_of(content, item.place)


class RemotePattern(RemoteSource):
    """The image files that a pattern matches, listed together: `s3://bucket/photos/2024*.jpg`."""

    def list(self) -> Listing:
        """One listing of each folder that may hold some."""
        files, path = file_system(self.name)
        found = _globbed(self.name, files, path)
        names = [name for name in _matches(path, found) if _is_image(name)]
        return Listing(_items(files, found, names))


class FileInfo(NamedTuple):
    """What can be told of a file without reading it.

    Attributes:
        bytes: its size; None where the storage does not tell.
        mtime_ns: when it was last changed; 0 where that is not known.
        stamp: changes when the file does: size and time, or what storage has instead; "" where
            that is not known.
    """

    bytes: int | None
    mtime_ns: int
    stamp: str


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        SearchError: where there is none of that kind, or a package for it is missing.
    """
    try:
        import fsspec  # type: ignore[import-untyped]

        # To fsspec `::` chains file systems; here it is part of a name.
        head, separator, rest = url.partition("::")
        files, path = fsspec.core.url_to_fs(head)
    except Exception as error:  # some storages look for keys already here
        raise SearchError(f"{url} cannot be opened: {error}") from error
    return files, path + separator + rest


def matching(pattern: str) -> dict[str, bool]:
    """The URLs that a pattern matches, sorted, and which of them are folders.

    Raises:
        SearchError: where the storage cannot be listed.
    """
    files, path = file_system(pattern)
    found = _globbed(pattern, files, path)
    return {
        files.unstrip_protocol(name): found[name]["type"] == "directory"
        for name in _matches(path, found)
    }


def read_url(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """A file or a stretch of it, in one request; OSError where it cannot be had."""
    files, path = file_system(url)
    try:
        content: bytes = files.cat_file(path, start=start, end=end)
    except Exception as error:  # each storage has exceptions of its own
        number = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO
        raise OSError(number, _why(error, path), url) from error
    return content


def open_file(place: str) -> BinaryIO:
    """A file on disk or at a URL, to be read at any place of it.

    Raises:
        OSError, SearchError: where there is none.
    """
    if not is_url(place):
        return open(place, "rb")
    return cast(BinaryIO, io.BufferedReader(_RemoteFile(place), _AHEAD))


def file_info(place: str) -> FileInfo:
    """Look at a file on disk or at a URL.

    Raises:
        SearchError: where it is not there.
    """
    if not is_url(place):
        try:
            about = os.stat(place)
        except OSError as error:
            raise SearchError(f"{place} cannot be read: {error.strerror}") from None
        stamp = f"{about.st_size} {about.st_mtime_ns}"
        return FileInfo(about.st_size, latest(about.st_mtime_ns), stamp)
    files, path = file_system(place)
    try:
        found: dict[str, Any] = files.info(path)
    except Exception as error:  # each storage has exceptions of its own
        raise SearchError(f"{place} cannot be read: {_why(error, path)}") from error
    size = found.get("size")
    told = next((found[name] for name in _STAMPS if found.get(name) is not None), None)
    return FileInfo(size, _changed(found), "" if told is None else f"{size} {told}")


def stamp_of(place: str) -> str:
    """`FileInfo.stamp` of a file; raises SearchError where it is not there."""
    return file_info(place).stamp


class _RemoteFile(io.RawIOBase):
    """A file at a URL, each read of which is one request.

    The files of fsspec read tens of megabytes ahead, and fail with exceptions of many kinds.
    """

    def __init__(self, url: str) -> None:
        size = file_info(url).bytes
        if size is None:
            raise SearchError(f"{url}: its storage does not tell its size; download it first")
        self._url, self._size, self._at = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        content = read_url(self._url, self._at, end) if self._at < end else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _find(url: str, files: Any, path: str, **options: Any) -> dict[str, dict[str, Any]]:
    """What is below a path now, sorted by name."""
    try:
        # What it remembers of an earlier listing may be hours old.
        files.invalidate_cache()
        found: dict[str, dict[str, Any]] = files.find(path, detail=True, **options)
    except Exception as error:  # each storage has exceptions of its own
        raise SearchError(f"{url} cannot be listed: {_why(error, path)}") from error
    return dict(sorted(found.items()))


def _globbed(url: str, files: Any, pattern: str) -> dict[str, dict[str, Any]]:
    """All that is in the folders in which a pattern may match something."""
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    root = fixed.rpartition("/")[0]
    depth = None if "**" in pattern else pattern[len(root) :].strip("/").count("/") + 1
    return _find(url, files, root, maxdepth=depth, withdirs=True)


def _matches(pattern: str, names: Mapping[str, object]) -> list[str]:
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    matched = re.compile(glob_translate(pattern))
    return [
        name
        for name in names
        if matched.match(name) and (_is_hidden(pattern) or not _is_hidden(name))
    ]


def _items(files: Any, found: Mapping[str, dict[str, Any]], names: list[str]) -> list[Item]:
    """The images with these names, and the captions beside them."""
    items = []
    for name in names:
        beside = caption_beside(name, found.__contains__)
        changed = max(_changed(found[name]), _changed(found[beside]) if beside else 0)
        place = files.unstrip_protocol(beside) if beside else None
        size = int(found[name]["size"])
        items.append(Item(files.unstrip_protocol(name), size, changed, place))
    return items


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return "/." in name


def _why(error: Exception, path: str) -> str:
    """What a storage says, with what can be done about it."""
    if isinstance(error, FileNotFoundError) and str(error).strip("/") == path.strip("/"):
        return "there is no such file; check the address"
    said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
    return f"{said}; check the address, and the keys and endpoint in the environment"


def _changed(about: dict[str, Any]) -> int:
    """Nanoseconds since 1970; 0 where the storage does not tell, or tells nonsense."""
    found = next((about[name] for name in _TIMES if about.get(name) is not None), None)
    if isinstance(found, datetime):
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        found = aware.timestamp()
    if isinstance(found, int | float) and 0 <= found < 2**33:
        return int(found * 1e6) * 1000
    return 0
