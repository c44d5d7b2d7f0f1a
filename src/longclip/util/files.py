"""Files and directories that are wholly written or not there at all."""

import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from longclip.errors import UsageError
from longclip.util import locks

_SUFFIX = ".partial"
_PARTIAL = re.compile(rf"\.(?P<name>.+)\.[a-z0-9_]{{8}}{re.escape(_SUFFIX)}", re.DOTALL)

ABANDONED_SECONDS = 86_400.0
"""Age at which what is not complete has no writer any more, on file systems without locks."""

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""Reasons for which a write fails that come without the name of the file."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file that takes the place of `path` if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path, directory=False) as temporary:
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~_current_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _partial(path: Path, *, directory: bool) -> Iterator[Path]:
    """Yield a new file or directory beside `path`, locked while the block runs."""
    remove_leftovers(path.parent, path.name)
    prefix = f".{path.name}."
    while True:
        if directory:
            name = tempfile.mkdtemp(_SUFFIX, prefix, path.parent)
            descriptor = None if sys.platform == "win32" else os.open(name, os.O_RDONLY)
        else:
            descriptor, name = tempfile.mkstemp(_SUFFIX, prefix, path.parent)
        if descriptor is None:
            break
        locked = locks.take_lock(descriptor)
        if locked is None:
            os.close(descriptor)
            descriptor = None
            break
        # Before it was locked, another process may have taken it for a leftover.
        with suppress(FileNotFoundError):
            if locked and os.path.samestat(os.stat(name), os.fstat(descriptor)):
                break
        locks.close(descriptor)
    try:
        yield Path(name)
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:  # what is written knows its name
            error.filename = str(path)
        raise
    finally:
        if descriptor is not None:
            locks.close(descriptor)


def remove_leftovers(directory: Path, name: str | None = None) -> None:
    """Remove what processes have left in a directory that were killed while they wrote there.

    A directory that was about to be replaced is put back.

    Args:
        directory: where `atomic_path` and `atomic_directory` have written.
        name: of the one file or directory to be written; all of them where None.
    """
    try:
        found = [entry for entry in os.scandir(directory) if entry.name.endswith(_SUFFIX)]
    except OSError:
        return
    for entry in found:
        match = _PARTIAL.fullmatch(entry.name)
        if match is None or name not in (None, match["name"]):
            continue
        with suppress(OSError):  # somebody else's, or gone already
            folder = entry.is_dir(follow_symlinks=False)
            descriptor = os.open(entry.path, os.O_RDONLY if folder else os.O_RDWR)
            try:
                age = time.time() - os.fstat(descriptor).st_mtime
                locked = locks.take_lock(descriptor)
                if locked or (locked is None and age > ABANDONED_SECONDS):
                    _remove_leftover(Path(entry.path), directory / match["name"])
            finally:
                locks.close(descriptor)


def _remove_leftover(work: Path, path: Path) -> None:
    old = work / "old"
    if old.exists() and not path.exists():  # killed between the two renamings
        old.rename(path)
    if work.is_dir():
        shutil.rmtree(work, ignore_errors=True)
    else:
        work.unlink()


def check_writable(path: str | Path) -> None:
    """Refuse before a long job, not after it, a path where its result could not be written.

    Raises:
        ValueError: if `path` is a directory, or no file can be made where it is to lie.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a directory; name a file")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"{path} cannot be written: {parent} is no directory we may write to")


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_replaceable(path: Path, marker: str | tuple[str, ...]) -> None:
    """Check that a directory may be written at `path`, in place of what is there.

    Args:
        path: of the directory.
        marker: a file, or several of which one is enough, that shows that what is there is of the
            kind about to be written.

    Raises:
        FileExistsError: if `path` is there, not empty, and holds none of them.
    """
    markers = (marker,) if isinstance(marker, str) else marker
    known = any((path / name).is_file() for name in markers)
    if path.exists() and not (path.is_dir() and (known or not any(path.iterdir()))):
        others = " or another file that is written there" if len(markers) > 1 else ""
        raise FileExistsError(
            f"{path} exists and holds no {markers[0]}{others}, so it is not overwritten; "
            "name a new directory or remove this one"
        )


@contextmanager
def atomic_directory(path: str | Path, *, marker: str | tuple[str, ...]) -> Iterator[Path]:
    """Yield a new directory, to take the place of `path` when the block ends without an error.

    An existing `path` is replaced only where `check_replaceable` allows it; a link is kept, and
    what it leads to is replaced.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path
    check_replaceable(path, marker)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path, directory=True) as work:
        try:
            new = work / "new"
            new.mkdir()
            yield new
            # A directory cannot be replaced in one step, only a file can: the old one steps aside,
            # and comes back if the new one cannot take its place.
            old = work / "old"
            if path.exists():
                path.rename(old)
            try:
                new.rename(path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _current_umask() -> int:
    """Return the permission bits that new files do not get."""
    mask = os.umask(0)  # there is no way to read it but to set it
    os.umask(mask)
    return mask


def cache_home() -> Path:
    """Return where the platform keeps caches; `XDG_CACHE_HOME` goes before it everywhere.

    Raises:
        UsageError: if the user has no home directory, as in a container under any user's number.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):  # the specification has relative ones ignored
        return Path(home)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    try:
        own = Path.home()
    except RuntimeError as error:
        raise UsageError(
            "this user has no home directory to keep files in; name a directory for them in the "
            "environment: XDG_CACHE_HOME=/DIRECTORY, or HOME"
        ) from error
    if sys.platform == "darwin":
        return own / "Library" / "Caches"
    return own / "AppData" / "Local" if sys.platform == "win32" else own / ".cache"
