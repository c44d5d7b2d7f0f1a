"""One writer of a database at a time."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from longclip.search.errors import SearchError

LOCK = ".writer"


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Hold the lock of a database on disk; it goes when the process does, however it ends.

    In object storage there is no lock: rows are merged by `uri`, so two writers do work twice but
    nothing wrong.

    Raises:
        SearchError: where another process writes; says which.
    """
    if "://" in place:
        yield
        return
    path = Path(place) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _locked(file.fileno()):
            file.seek(0)
            raise SearchError(f"{place} is being written by {_writer(file.read())}; wait for it")
        file.truncate(0)
        about = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().isoformat(" ", "seconds"),
        }
        file.write(json.dumps(about))
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: writing twice is safe, only slow
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _writer(text: str) -> str:
    try:
        about = json.loads(text)
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
