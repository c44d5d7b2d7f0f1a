"""Object storage and other file systems at URLs, through fsspec."""

import os
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from longclip.search.errors import SearchError
from longclip.search.sources.files import SUFFIXES
from longclip.search.sources.item import Item, Listing
from longclip.search.sources.sidecars import CAPTION_SUFFIXES, LARGEST, caption_of

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems call the time of the last change."""

_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", *_TIMES)
"""What file systems call a hash of the content, or that time."""


class RemoteSource:
    """All images below a URL, or one image: `s3://bucket/photos`, `gs://…`, `az://…`."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    def list(self) -> Listing:
        """One listing of the storage."""
        files, path = file_system(self.name)
        try:
            found: dict[str, dict[str, Any]] = files.find(path, detail=True)
        except Exception as error:  # each storage has exceptions of its own
            raise SearchError(f"{self.name} cannot be listed: {error}") from error
        if not found:
            raise SearchError(f"{self.name}: there is nothing; check the address")
        items = []
        for name, about in sorted(found.items()):
            stem, suffix = os.path.splitext(name)
            hidden = "/." in name[len(path) :]
            if hidden or (suffix.lower() not in SUFFIXES and name != path):
                continue
            beside = next((stem + end for end in CAPTION_SUFFIXES if stem + end in found), None)
            changed = max(_changed(about), _changed(found[beside]) if beside else 0)
            uri = files.unstrip_protocol(name)
            place = files.unstrip_protocol(beside) if beside else None
            items.append(Item(uri, int(about["size"]), changed, place))
        return Listing(items)

    def read(self, item: Item) -> bytes:
        """Fetch the file."""
        return read_url(item.uri)

    def caption(self, item: Item) -> str | None:
        """From the file beside it."""
        if item.place is None:
            return None
        try:
            content = read_url(item.place)[:LARGEST]
        except OSError:
            return None
        return caption_of(content, os.path.splitext(item.place)[1])


def is_url(place: str) -> bool:
    """Whether it is no path on this machine."""
    return "://" in place


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        SearchError: where there is none of that kind, or a package for it is missing.
    """
    try:
        import fsspec  # type: ignore[import-untyped]

        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SearchError(f"{url} cannot be opened: {error}") from error
    return found


def read_url(url: str) -> bytes:
    """A whole file; OSError where it cannot be had."""
    files, path = file_system(url)
    try:
        content: bytes = files.cat_file(path)
    except OSError:
        raise
    except Exception as error:  # each storage has exceptions of its own
        raise OSError(f"{url} cannot be fetched: {error}") from error
    return content


def open_file(place: str) -> BinaryIO:
    """A file on disk or at a URL, to be read at any place of it; OSError where there is none."""
    if not is_url(place):
        return open(place, "rb")
    files, path = file_system(place)
    return cast(BinaryIO, files.open(path, "rb"))


def local_stat(place: str) -> os.stat_result | None:
    """Size and time of a file on disk; None for a URL.

    Raises:
        SearchError: where it is not there.
    """
    if is_url(place):
        return None
    try:
        return os.stat(place)
    except OSError as error:
        raise SearchError(f"{place} cannot be read: {error.strerror}") from None


def stamp_of(place: str) -> str:
    """What changes when a file does: size and time, or what storage has instead; "" for unknown.

    Raises:
        SearchError: where it is not there.
    """
    about = local_stat(place)
    if about:
        return f"{about.st_size} {about.st_mtime_ns}"
    files, path = file_system(place)
    try:
        found: dict[str, Any] = files.info(path)
    except Exception as error:  # each storage has exceptions of its own
        raise SearchError(f"{place} cannot be read: {error}") from error
    told = next((found[name] for name in _STAMPS if found.get(name) is not None), None)
    return "" if told is None else f"{found.get('size')} {told}"


def _changed(about: dict[str, Any]) -> int:
    """Nanoseconds since 1970; 0 where the storage does not tell."""
    found = next((about[name] for name in _TIMES if about.get(name) is not None), None)
    if isinstance(found, datetime):
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        return int(aware.timestamp() * 1e6) * 1000
    if isinstance(found, int | float):
        return int(found * 1e6) * 1000
    return 0
