"""Files on disk, in object storage and on the web, behind one set of functions.

Everything at a URL goes through fsspec (`s3://`, `gs://`, `az://`, `memory://` …) except pages of
the web: fsspec's HTTP needs aiohttp, which nothing else here does, and a whole shard takes one GET
request, which the standard library can make. Hence `http://` and `https://` can be downloaded, but
neither listed nor read in parts.
"""

import errno
import http.client
import io
import os
import re
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import urljoin

from longclip.errors import FetchError
from longclip.util.regular_files import open_regular
from longclip.util.seekable import SeekableReader

WILDCARDS = frozenset("*?[")
"""Characters that make a path or URL a pattern."""

_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Keys under which file systems give the time of the last change."""

_STAMP_KEYS = ("ETag", "etag", "md5Hash", "content_md5", *_TIME_KEYS)
"""Keys under which they give a hash of the content, or else that time."""

MIN_REQUEST_BYTES = 8 << 20
"""Least that a request asks for while a file is read in small pieces, such as tar headers."""

_DOWNLOAD_BYTES = 32 << 20
"""Most that one request of a download from object storage asks for."""

_WEB_READ_BYTES = 1 << 20
_WEB_TIMEOUT_SECONDS = 60.0
_TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_ABSENT_STATUSES = frozenset({403, 404, 410})
"""403 as well: S3 answers so for a missing file where listing is not allowed."""


class FileInfo(NamedTuple):
    """Facts of a file that are known without reading it.

    Attributes:
        bytes: size; None where the storage does not tell.
        mtime_ns: time of the last change, in nanoseconds since 1970; 0 where it is not known.
        stamp: a text that changes when the file does, of size and time or what storage has
            instead; "" where that is not known.
    """

    bytes: int | None
    mtime_ns: int
    stamp: str


class TransferError(Exception):
    """A download that failed.

    Attributes:
        lasting: another attempt would fail as well.
        absent: there is no such file, or none for us.
    """

    def __init__(self, reason: str, *, lasting: bool = False, absent: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
        self.absent = absent


def is_url(place: str) -> bool:
    """Return whether `place` is no path on this machine."""
    return "://" in place


def is_web(place: str) -> bool:
    """Return whether `place` is an address of the web, which can be downloaded and no more."""
    return place.startswith(("http://", "https://"))


def beside(place: str, name: str) -> str:
    """Return the path or URL of a file in the folder of another; `name` itself if it is a URL."""
    if is_url(name):
        return name
    if is_web(place):
        return urljoin(place, name)
    # urljoin knows no other schemes.
    return f"{place.rpartition('/')[0]}/{name}" if is_url(place) else str(Path(place).parent / name)


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises:
        FetchError: if there is none of that kind, or a package for it is missing.
    """
    try:
        import fsspec  # type: ignore[import-untyped]

        # To fsspec `::` chains file systems; here it is part of a name.
        head, separator, rest = url.partition("::")
        files, path = fsspec.core.url_to_fs(head)
    except Exception as error:  # some storages look for keys already here
        raise FetchError(f"{url} cannot be opened: {error}") from error
    return files, path + separator + rest


def file_info(place: str) -> FileInfo:
    """Look at a file on disk or at a URL.

    Raises:
        FetchError: if it is not there.
    """
    if not is_url(place):
        try:
            about = os.stat(place)
        except OSError as error:
            raise FetchError(f"{place} cannot be read: {error.strerror}") from None
        stamp = f"{about.st_size} {about.st_mtime_ns}"
        return FileInfo(about.st_size, latest(about.st_mtime_ns), stamp)
    files, path = file_system(place)
    try:
        found: dict[str, Any] = files.info(path)
    except Exception as error:  # each storage has exceptions of its own
        raise FetchError(f"{place} cannot be read: {_reason(error, path)}") from error
    size = found.get("size")
    value = next((found[key] for key in _STAMP_KEYS if found.get(key) is not None), None)
    return FileInfo(size, changed_ns(found), "" if value is None else f"{size} {value}")


def latest(*times_ns: int) -> int:
    """Return the latest of several times, within what a column of int64 can hold."""
    return min(max(0, *times_ns), 2**63 - 1)


def changed_ns(about: Mapping[str, Any]) -> int:
    """Return nanoseconds since 1970; 0 where the storage tells no time, or nonsense."""
    found = next((about[key] for key in _TIME_KEYS if about.get(key) is not None), None)
    if isinstance(found, datetime):
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        found = aware.timestamp()
    if isinstance(found, int | float) and 0 <= found < 2**33:
        return int(found * 1e6) * 1000
    return 0


def list_below(url: str, files: Any, path: str, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the files below a path as they are now, sorted by name, with their facts.

    Raises:
        FetchError: if the storage cannot be listed.
    """
    try:
        # What it remembers of an earlier listing may be hours old.
        files.invalidate_cache()
        found: dict[str, dict[str, Any]] = files.find(path, detail=True, **options)
    except Exception as error:  # each storage has exceptions of its own
        raise FetchError(f"{url} cannot be listed: {_reason(error, path)}") from error
    return dict(sorted(found.items()))


def list_matching(
    pattern: str, files: Any, path: str
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the names that a pattern matches, and all files of the folders that it may match in.

    Raises:
        FetchError: if the storage cannot be listed.
    """
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    fixed = re.split(r"[*?\[]", path, maxsplit=1)[0]
    root = fixed.rpartition("/")[0]
    depth = None if "**" in path else path[len(root) :].strip("/").count("/") + 1
    found = list_below(pattern, files, root, maxdepth=depth, withdirs=True)
    matched = re.compile(glob_translate(path))
    names = [
        name for name in found if matched.match(name) and (is_hidden(path) or not is_hidden(name))
    ]
    return names, found


def matching(pattern: str) -> dict[str, bool]:
    """Return the URLs that a pattern matches, sorted, and which of them are folders.

    Raises:
        FetchError: if the storage cannot be listed.
    """
    files, path = file_system(pattern)
    names, found = list_matching(pattern, files, path)
    return {files.unstrip_protocol(name): found[name]["type"] == "directory" for name in names}


def is_hidden(name: str) -> bool:
    """Return whether a file, or a folder that it lies in, begins with a dot."""
    return "/." in name


def read_url(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """Return a file in object storage, or its bytes from `start` to before `end`, in one request.

    Raises:
        OSError: if it cannot be had.
    """
    files, path = file_system(url)
    try:
        content: bytes = files.cat_file(path, start=start, end=end)
    except Exception as error:  # each storage has exceptions of its own
        number = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO
        raise OSError(number, _reason(error, path), url) from error
    return content


def read_part(place: str, offset: int, size: int) -> bytes:
    """Return `size` bytes of a file on disk or in object storage; fewer where it ends before.

    Raises:
        OSError: if it cannot be had.
    """
    if is_url(place):
        return read_url(place, offset, offset + size)
    with open_regular(place) as file:
        file.seek(offset)
        return file.read(size)


def open_file(place: str) -> BinaryIO:
    """Open a file on disk or in object storage, to be read at any place of it.

    Raises:
        OSError, FetchError: if there is none.
    """
    if not is_url(place):
        return open_regular(place)
    return cast(BinaryIO, io.BufferedReader(_StoredFile(place), MIN_REQUEST_BYTES))


def download(url: str, file: BinaryIO, *, max_bytes: int, limit: str) -> None:
    """Write the whole of a file elsewhere into `file`.

    Args:
        url: of the web or of object storage.
        file: to write to.
        max_bytes: size of the largest file that may be downloaded.
        limit: that size in words for the message, with what can be done.

    Raises:
        TransferError: if it cannot be had, is too large or was cut off.
        FetchError: if no such storage is known.
    """
    size, pieces = _web_stream(url) if is_web(url) else _storage_stream(url)
    received = 0
    with closing(pieces):
        for piece in pieces:
            received += len(piece)
            if max(received, size or 0) > max_bytes:
                raise TransferError(f"it is larger than {limit}", lasting=True)
            file.write(piece)
    if size is not None and received != size:
        raise TransferError(f"cut off after {received:,} of {size:,} bytes")


def _web_stream(url: str) -> tuple[int | None, Generator[bytes]]:
    """Return the size of a file on the web, if the server tells it, and its content in pieces."""
    request = urllib.request.Request(url, headers={"User-Agent": "longclip"})
    try:
        response = urllib.request.urlopen(request, timeout=_WEB_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        raise TransferError(
            f"HTTP {error.code} {error.reason or error}",
            lasting=error.code not in _TEMPORARY_STATUSES,
            absent=error.code in _ABSENT_STATUSES,
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(str(getattr(error, "reason", None) or error)) from error

    def pieces() -> Generator[bytes]:
        with response:
            while True:
                try:
                    piece = response.read(_WEB_READ_BYTES)
                except (OSError, http.client.HTTPException) as error:
                    raise TransferError(f"cut off: {error}") from error
                if not piece:
                    return
                yield piece

    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None, pieces()


def _storage_stream(url: str) -> tuple[int | None, Generator[bytes]]:
    """Return the size of a file in object storage, if known, and its content in pieces."""
    files, path = file_system(url)

    def request(method: Any, **options: Any) -> Any:
        try:
            return method(path, **options)
        except Exception as error:  # each storage has exceptions of its own
            absent = isinstance(error, FileNotFoundError | PermissionError)
            raise TransferError(_reason(error, path), lasting=absent, absent=absent) from error

    size = request(files.info).get("size")

    def pieces() -> Generator[bytes]:
        if size is None:
            yield request(files.cat_file)
            return
        for start in range(0, size, _DOWNLOAD_BYTES):
            yield request(files.cat_file, start=start, end=min(start + _DOWNLOAD_BYTES, size))

    return size, pieces()


class _StoredFile(SeekableReader):
    """A file at a URL, each read of which is one request.

    The files of fsspec read tens of megabytes ahead, and fail with exceptions of many kinds.
    """

    def __init__(self, url: str) -> None:
        size = file_info(url).bytes
        if size is None:
            raise FetchError(f"{url}: its storage does not tell its size; download it first")
        super().__init__(size)
        self._url = url

    def readinto(self, buffer: Any) -> int:
        end = min(self.at + len(buffer), self.size)
        content = read_url(self._url, self.at, end) if self.at < end else b""
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)


def _reason(error: Exception, path: str) -> str:
    """Return what a storage says, with what can be done about it."""
    if isinstance(error, FileNotFoundError) and str(error).strip("/") == path.strip("/"):
        return "there is no such file; check the address"
    line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
    return f"{line}; check the address, and the keys and endpoint in the environment"
