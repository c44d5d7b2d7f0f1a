"""Shards fetched over HTTP, kept on disk up to a limit."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from longclip._files import atomic_path, cache_home
from longclip.errors import FetchError

_WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt."""
_TIMEOUT = 60.0
_REST = 300.0
"""Seconds in which a place that could not be reached is not tried again."""
_ABANDONED = 86_400.0
_PIECE = 1 << 20
_LARGEST_TEXT = 64 << 20
_FOR_A_WHILE = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGENT = "longclip"


class ShardCache:
    """A folder of fetched shards, used longest ago first out.

    Several processes may share it: each file appears whole, and one process fetches it while the
    others wait. What is behind an address is taken never to change.

    Args:
        directory: where; in the cache of the user if None.
        gigabytes: how much all shards together may take, and so the largest single one.
    """

    def __init__(self, directory: str | Path | None = None, gigabytes: float = 100.0) -> None:
        self.directory = Path(directory) if directory else cache_home() / "longclip" / "shards"
        self.limit = int(gigabytes * 1e9)
        self._failed: dict[str, tuple[float, str]] = {}

    def shard(self, url: str) -> Path:
        """The file of a shard, fetched if it is not here.

        Raises:
            FetchError: if it cannot be had; for a while it is not tried again.
        """
        path = self.directory / f"{_digest(url)}.tar"
        if _touched(path):
            return path
        when, reason = self._failed.get(url, (0.0, ""))
        if reason and time.monotonic() - when < _REST:
            raise FetchError(reason)
        try:
            with _one_at_a_time(path.with_suffix(".lock")):
                if not _touched(path):
                    self._fetch(url, path)
        except FetchError as error:
            self._failed[url] = (time.monotonic(), str(error))
            raise
        except OSError as error:
            raise FetchError(f"{self.directory} cannot take {url}: {error.strerror}") from error
        return path

    def text(self, url: str) -> str | None:
        """A small file, not kept; None where there is none."""
        for attempt, wait in enumerate((*_WAITS, None)):
            try:
                with _opened(url) as response:
                    return response.read(_LARGEST_TEXT).decode("utf-8-sig")
            except urllib.error.HTTPError as error:
                if error.code in (403, 404, 410):
                    return None
                _wait_or_raise(url, error, wait, attempt)
            except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
                _wait_or_raise(url, error, wait, attempt)
        raise AssertionError("the last attempt raises")

    def _fetch(self, url: str, path: Path) -> None:
        with atomic_path(path) as temporary:
            for attempt, wait in enumerate((*_WAITS, None)):
                try:
                    with _opened(url) as response:
                        self._copy(url, response, temporary)
                    break
                except (urllib.error.URLError, http.client.HTTPException) as error:
                    _wait_or_raise(url, error, wait, attempt)
                except (ConnectionError, TimeoutError, _CutOff) as error:
                    _wait_or_raise(url, error, wait, attempt)
            # Before it gets its name, so that the folder is never above its limit for long.
            self._make_room(temporary.stat().st_size)

    def _copy(self, url: str, response: "http.client.HTTPResponse", path: Path) -> None:
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdigit() else None
        received = 0
        with path.open("wb") as file:
            while piece := _piece(response):
                received += len(piece)
                if max(received, expected or 0) > self.limit:
                    raise FetchError(
                        f"{url} is larger than all the {self.limit / 1e9:.3g} GB that the shard "
                        "cache may take; allow it more"
                    )
                file.write(piece)
        if expected is not None and received != expected:
            raise _CutOff(f"cut off after {received:,} of {expected:,} bytes")

    def _make_room(self, size: int) -> None:
        """Remove the shards used longest ago until `size` bytes more are within the limit."""
        kept, now = [], time.time()
        for path in (*self.directory.glob("*.tar"), *self.directory.glob(".*.tar.*")):
            try:
                about = path.stat()
            except FileNotFoundError:  # another process made room
                continue
            if path.suffix == ".tar":
                kept.append((about.st_mtime, about.st_size, path))
            elif now - about.st_mtime > _ABANDONED:  # begun by a process that was killed
                path.unlink(missing_ok=True)
        used = sum(bytes_ for _, bytes_, _ in kept)
        for _, bytes_, path in sorted(kept):
            if used + size <= self.limit:
                return
            # Who has it open reads on; who opens it later fetches it again.
            path.unlink(missing_ok=True)
            used -= bytes_


class _CutOff(OSError):
    """Fewer bytes than were announced, or a connection that was lost."""


def _digest(url: str) -> str:
    name = Path(urlsplit(url).path).stem[:60]
    return f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"


def _touched(path: Path) -> bool:
    """Whether the file is there; if so it counts as used just now."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _opened(url: str) -> "http.client.HTTPResponse":
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)
    return response


def _piece(response: "http.client.HTTPResponse") -> bytes:
    try:
        return response.read(_PIECE)
    except (OSError, http.client.HTTPException) as error:
        raise _CutOff(f"cut off: {error}") from error


def _wait_or_raise(url: str, error: Exception, wait: float | None, attempt: int) -> None:
    code = getattr(error, "code", None)
    lasting = code is not None and code not in _FOR_A_WHILE
    if lasting or wait is None:
        reason = getattr(error, "reason", None) or error
        shown = f"HTTP {code} {reason}" if code is not None else str(reason)
        tries = "" if lasting else f" in {attempt + 1} attempts"
        raise FetchError(f"{url} could not be fetched{tries}: {shown}") from error
    time.sleep(wait)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        _lock(file)
        yield


def _lock(file: IO[str]) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: each process fetches for itself, which is only slower
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: likewise
        return
