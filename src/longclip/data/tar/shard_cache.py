"""Shards fetched from other machines, kept on disk up to a limit."""

import hashlib
import io
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from filelock import FileLock

from longclip.data.storage import TransferError, download
from longclip.errors import FetchError
from longclip.util.files import atomic_path, cache_home
from longclip.util.kept_files import make_room, touch

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Pauses before each further attempt to fetch a file."""

_FAILED_SECONDS = 300.0
"""Time in which an address that failed is not tried again: each of its samples would wait anew."""

_MAX_TEXT_BYTES = 64 << 20


class ShardCache:
    """A folder of fetched shards, of which the one used longest ago is removed first.

    Several processes may share it: each file appears whole, and one process fetches it while the
    others wait. What is behind an address is taken never to change.

    Args:
        directory: of the files; in the cache of the user if None.
        gigabytes: most that all shards together may take, and so the largest single one.
    """

    def __init__(self, directory: str | Path | None = None, gigabytes: float = 100.0) -> None:
        self.directory = Path(directory) if directory else cache_home() / "longclip" / "shards"
        self.limit = int(gigabytes * 1e9)
        self._failed: dict[str, tuple[float, str]] = {}

    def shard(self, url: str) -> Path:
        """Return the file of a shard, fetched if it is not here.

        Raises:
            FetchError: if it cannot be had; for a while it is not tried again.
        """
        name = Path(urlsplit(url).path).stem[:60]
        digest = hashlib.sha256(url.encode()).hexdigest()[:16]
        path = self.directory / f"{name}-{digest}.tar"
        if touch(path):
            return path
        when, reason = self._failed.get(url, (0.0, ""))
        if reason and time.monotonic() - when < _FAILED_SECONDS:
            raise FetchError(reason)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                # A lock per shard, so that processes fetch different ones at the same time. On a
                # file system without locks each fetches for itself, which is only slower.
                with suppress(OSError):
                    lock = FileLock(path.with_suffix(".lock"), fallback_to_soft=False)
                    stack.enter_context(lock)
                if not touch(path):
                    temporary = stack.enter_context(atomic_path(path))
                    with temporary.open("wb") as file:
                        limit = f"all the {self.limit / 1e9:.3g} GB that the shard cache may take"
                        _download(url, file, self.limit, f"{limit}; allow it more")
                    # Before it gets its name, so that the folder is never above its limit for long.
                    make_room(self.directory, "*.tar", temporary.stat().st_size, self.limit)
        except FetchError as error:
            self._failed[url] = (time.monotonic(), str(error))
            raise
        except OSError as error:
            raise FetchError(f"{self.directory} cannot take {url}: {error.strerror}") from error
        return path

    def text(self, url: str) -> str | None:
        """Return a small text file, which is not kept; None where there is none."""
        buffer = io.BytesIO()
        try:
            _download(url, buffer, _MAX_TEXT_BYTES, f"the {_MAX_TEXT_BYTES:,} bytes of a text")
            return buffer.getvalue().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FetchError(f"{url} is not UTF-8 text ({error}); write it again") from error
        except FetchError as error:
            if isinstance(error.__cause__, TransferError) and error.__cause__.absent:
                return None
            raise


def _download(url: str, file: BinaryIO, max_bytes: int, limit: str) -> None:
    """Download a file with further attempts; see `longclip.data.storage.download`.

    Raises:
        FetchError: if the last attempt has failed, or none is worth it.
    """
    for attempt, pause in enumerate((*RETRY_SECONDS, None), 1):
        file.seek(0)
        file.truncate()
        try:
            return download(url, file, max_bytes=max_bytes, limit=limit)
        except TransferError as error:
            if error.lasting or pause is None:
                attempts = "" if error.lasting else f" in {attempt} attempts"
                raise FetchError(f"{url} could not be fetched{attempts}: {error}") from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
