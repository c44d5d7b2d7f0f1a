"""Files and directories that are either wholly written or not there at all."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longclip.errors import UsageError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file that takes the place of `path` if the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_current_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


@contextmanager
def atomic_directory(path: str | Path, *, marker: str | tuple[str, ...]) -> Iterator[Path]:
    """Yield a new directory, to take the place of `path` when the block ends without an error.

    An existing `path` is replaced only where it is empty or holds the file `marker`, or one of
    several, which shows that it is a directory of the kind about to be written; anything else
    raises `FileExistsError`.
    """
    path = Path(path)
    markers = (marker,) if isinstance(marker, str) else marker
    known = any((path / name).is_file() for name in markers)
    if path.exists() and not (path.is_dir() and (known or not any(path.iterdir()))):
        raise FileExistsError(
            f"{path} exists and holds no {' or '.join(markers)}, so it is not overwritten; "
            "name a new directory or remove this one"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        new = work / "new"
        new.mkdir()
        yield new
        # A directory cannot be replaced in one step, only a file can: the old one steps aside, and
        # comes back if the new one cannot take its place.
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
    """Return where the platform keeps caches; `XDG_CACHE_HOME` goes before it everywhere."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):  # the specification has relative ones ignored
        return Path(home)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path.home() / ".cache"
