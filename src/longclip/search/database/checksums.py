"""Checksums of the files of a database, in a file beside its tables.

LanceDB notices most files that are cut off, and few that have a wrong byte: it then reads other
values. Its files are written once and never changed, so each is hashed once.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from longclip.data.storage import is_url
from longclip.errors import CheckpointError, UnreadableError
from longclip.util.sealed_json import read_sealed, write_sealed

_NAME = "checksums.json"
_UNCHECKED = (_NAME, ".writer")
_REWRITTEN = ".json"
"""How names of files end that are written anew with later commits."""


def keep_checksums(place: str, *, anew: bool = False) -> None:
    """Note the SHA-256 of all files of a database; of object storage nothing is noted.

    Args:
        place: of the database, of which the caller is the writer.
        anew: hash all files, and not only those that are new.
    """
    if is_url(place):
        return
    known: dict[str, str] = {}
    if not anew:
        with suppress(FileNotFoundError):
            known = read_sealed(Path(place, _NAME))
    sums = {
        name: known.get(name) if not name.endswith(_REWRITTEN) else None for name in _files(place)
    }
    whole = {name: kept or _sha256(Path(place, name)) for name, kept in sums.items()}
    if whole != known:
        write_sealed(Path(place, _NAME), whole)


def check_files(place: str) -> None:
    """Compare the files of a database with the checksums noted; what has none is not compared.

    A file that is gone is none of this: what was written when a process was killed may have
    replaced it, and LanceDB notices where it needs it.

    Raises:
        UnreadableError: names the file that is damaged, and the remedy.
    """
    if is_url(place):
        return
    try:
        known = read_sealed(Path(place, _NAME))
    except FileNotFoundError:
        return
    except CheckpointError as error:
        raise _damaged(place, _NAME) from error
    commits = _commits(known)
    for name, kept in known.items():
        with suppress(FileNotFoundError):
            if _sha256(Path(place, name)) == kept:
                continue
            # A later commit, of a process that was killed or still writes, has changed it.
            if name.endswith(_REWRITTEN) and commits != _commits(_files(place)):
                continue
            raise _damaged(place, name)


def _files(place: str) -> Iterator[str]:
    for parent, _, names in os.walk(place):
        for name in sorted(names):
            if name not in _UNCHECKED:
                yield Path(parent, name).relative_to(place).as_posix()


def _commits(names: Iterator[str] | dict[str, str]) -> set[str]:
    return {name for name in names if name.endswith(".manifest")}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _damaged(place: str, name: str) -> UnreadableError:
    return UnreadableError(
        f"the database {place} cannot be read: {Path(place, name)} is damaged (it is not as it was "
        f"written). Make it anew from its sources: longclip index --db {place} --rebuild"
    )
