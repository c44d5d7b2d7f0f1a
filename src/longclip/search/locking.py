"""One writer of a database at a time."""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import TextIO

from filelock import lock_descriptor

from longclip.data.storage import is_url
from longclip.errors import SearchError

LOCK = ".writer"
_MAX_ATTEMPTS = 100
"""How often others may clear the lock away between two steps of ours before we give up."""


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Hold the lock of a database on disk; it goes when the process does, however it ends.

    Where nothing has been written beside it, no file and no directory stays behind that was not
    there before.

    In object storage there is no lock: rows are merged by `uri`, so two writers do work twice but
    nothing wrong.

    Raises:
        SearchError: if another process writes; says which. Also if nothing can be written.
    """
    if is_url(place):
        yield
        return
    folder = Path(place)
    file, made = _locked(folder)
    with file:
        try:
            yield
        finally:
            # Cleared away while the lock is held. Windows removes no open file: there it stays.
            with suppress(OSError):
                if os.listdir(folder) == [LOCK]:
                    (folder / LOCK).unlink()
                    for each in reversed(made):
                        each.rmdir()  # fails, as it should, where others have put something in it


def _locked(folder: Path) -> tuple[TextIO, Sequence[Path]]:
    """Return the file of the lock, which is ours, and the directories that were made for it."""
    made: list[Path] = []
    for _ in range(_MAX_ATTEMPTS):
        file = _opened(folder, made)
        if file is None:
            continue
        if not lock_descriptor(file.fileno(), blocking=False):
            raise SearchError(f"{folder} is being written by {_writer(file)}; wait for it")
        if _is_there(folder / LOCK, file.fileno()):
            about = {
                "process": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now().isoformat(" ", "seconds"),
            }
            file.truncate(0)
            file.write(json.dumps(about))
            file.flush()
            return file, made
        file.close()
    raise SearchError(f"{folder} cannot be written: no directory stays there")


def _opened(folder: Path, made: list[Path]) -> TextIO | None:
    """Open the file of the lock; return None where another process clears it away meanwhile."""
    try:
        missing = takewhile(lambda each: not each.is_dir(), (folder, *folder.parents))
        for each in reversed(list(missing)):
            with suppress(FileExistsError):
                each.mkdir()
                made.append(each)
        return (folder / LOCK).open("a+", encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SearchError(f"{folder} cannot be written: {error.strerror or error}") from error


def _is_there(path: Path, descriptor: int) -> bool:
    """Return whether what is open is still what others would open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _writer(file: TextIO) -> str:
    """Return who holds the lock of a file, and close it."""
    with file:
        try:
            file.seek(0)
            about = json.loads(file.read())
            return f"process {about['process']} on {about['host']} since {about['since']}"
        # Windows lets nobody else read a locked file.
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
