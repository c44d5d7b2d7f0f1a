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

from longclip.errors import SearchError
from longclip.search.sources.image_source import is_url

LOCK = ".writer"
_TRIES = 100
"""How often others may clear the lock away between two steps of ours before we give up."""


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Hold the lock of a database on disk; it goes when the process does, however it ends.

    Where nothing has been written beside it, no file and no directory stays behind that was not
    there before.

    In object storage there is no lock: rows are merged by `uri`, so two writers do work twice but
    nothing wrong.

    Raises:
        SearchError: where another process writes; says which. Also where nothing can be written.
    """
    if is_url(place):
        yield
        return
    folder = Path(place)
    file, made = _taken(folder)
    with file:
        try:
            yield
        finally:
            _leave_nothing(folder, made)


def _taken(folder: Path) -> tuple[TextIO, Sequence[Path]]:
    """The file of the lock, which is ours, and the directories that had to be made for it."""
    made: list[Path] = []
    for _ in range(_TRIES):
        file = _opened(folder, made)
        if file is None:
            continue
        if not _locked(file.fileno()):
            with file:
                file.seek(0)
                writer = _writer(file.read())
            raise SearchError(f"{folder} is being written by {writer}; wait for it")
        if _is_there(folder / LOCK, file.fileno()):
            _sign(file)
            return file, made
        file.close()
    raise SearchError(f"{folder} cannot be written: no directory stays there")


def _opened(folder: Path, made: list[Path]) -> TextIO | None:
    """The file of the lock; None where another process clears it away at this moment."""
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


def _leave_nothing(folder: Path, made: Sequence[Path]) -> None:
    """Take away what was made for the lock alone. Called while it is held."""
    # Windows removes no open file: there it stays.
    with suppress(OSError):
        if os.listdir(folder) != [LOCK]:
            return
        (folder / LOCK).unlink()
        for each in reversed(made):
            each.rmdir()  # fails, as it should, where others have put something into it


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


def _is_there(path: Path, descriptor: int) -> bool:
    """Whether what is open is still what others would open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sign(file: TextIO) -> None:
    about = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(" ", "seconds"),
    }
    file.truncate(0)
    file.write(json.dumps(about))
    file.flush()


def _writer(text: str) -> str:
    try:
        about = json.loads(text)
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
