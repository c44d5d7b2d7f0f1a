"""Connection to LanceDB, and its SQL strings and errors, which all tables of a database share."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from longclip.data.storage import is_url
from longclip.errors import LongCLIPError, SearchError, UnreadableError
from longclip.search.database.lance_import import import_lancedb

Out = TypeVar("Out")

PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Metadata of the column that names a row: two writers that merge the same one do not double it."""

_MAX_VALUES = 1000
"""Values in one condition: no parser of SQL is made for megabytes of one."""

_MAGIC = b"LANC"
"""The end of every file of Lance's."""

_STORAGE = (
    (r"<Message>(.*?)</Message>", "{}; check the address, and the keys in the environment"),
    (
        r"Some\((\w+://[^/)]+).*kind: (?:Connect|Timeout), source: reqwest",
        "nothing answers at {}; check the endpoint in the environment",
    ),
    (r"source: (BadScheme)", "its endpoint is not encrypted; AWS_ALLOW_HTTP=true allows that"),
    (r"(AWS credentials|TokenRequest)", "the environment holds no keys for this storage; set them"),
)
"""Patterns of faults of object storage in messages of Lance's, and how to word them."""


def connect(place: str) -> Any:
    """Open the LanceDB in a directory or at a URL."""
    # Lance warns on standard error of changes to come in its own interface, once for every query.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        lancedb = import_lancedb()
    except ImportError as error:
        raise SearchError('image search needs LanceDB: pip install "longclip[search]"') from error
    try:
        return lancedb.connect(place)
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchError(f"{place} cannot be opened: {reason(error)}") from error


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Turn whatever Lance raises in the block, which only reads, into an UnreadableError.

    Of damaged files Lance raises ValueErrors and RuntimeErrors, and panics of a kind of their own.
    """
    try:
        yield
    except (LongCLIPError, MemoryError):
        raise
    except Exception as error:
        raise unreadable(place, error) from error


def unreadable(place: str, error: Exception) -> UnreadableError:
    """Return an error that names a database's damaged file, if it can be told, and the remedy."""
    if is_url(place) and any(re.search(pattern, str(error)) for pattern, _ in _STORAGE):
        return UnreadableError(f"the database {place} cannot be read: {reason(error)}")
    damaged = None if is_url(place) else _damaged_file(place, str(error))
    which = f"{damaged} is damaged or missing" if damaged else "one of its files is damaged"
    return UnreadableError(
        f"the database {place} cannot be read: {which} ({reason(error).rstrip('.')}). Make it anew "
        f"from its sources: longclip index --db {place} --rebuild"
    )


def _damaged_file(place: str, message: str) -> str | None:
    """Return the file that a message of Lance's names, or that is obviously none of Lance's."""
    if named := re.search(r"(\w+\.lance/[\w./-]+\.\w+)", message):
        return os.path.join(place, named[1])
    for table in sorted(Path(place).glob("*.lance")):
        # The number in a name counts down: the first manifest is that of the present version.
        manifests = sorted(table.glob("_versions/*.manifest"))
        others = sorted([*table.glob("data/*.lance"), *table.glob("_indices/*/*")])
        for file in [*manifests, *others]:
            with suppress(OSError), file.open("rb") as opened:
                opened.seek(max(0, file.stat().st_size - len(_MAGIC)))
                if opened.read() != _MAGIC:
                    return str(file)
        if "Manifest" in message and manifests:
            return str(manifests[0])
    return None


def tables(database: Any) -> list[str]:
    """List the names of its tables."""
    found = database.list_tables()
    return list(getattr(found, "tables", found))


def commit(place: str, change: Callable[[], Out]) -> Out:
    """Change a table; raises SearchError where that cannot be written."""
    try:
        return change()
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchError(
            f"{place} cannot be written: {reason(error)}. All that was written before is "
            "whole; run the same command again to go on from there. Where that does not help, "
            f"make the database anew from its sources: longclip index --db {place} --rebuild"
        ) from error


def quoted(text: str) -> str:
    """Write a string as SQL does."""
    return "'" + text.replace("'", "''") + "'"


def among(column: str, values: Sequence[str]) -> Iterator[str]:
    """Yield conditions that together ask for all rows with one of these values."""
    for start in range(0, len(values), _MAX_VALUES):
        listed = ", ".join(map(quoted, values[start : start + _MAX_VALUES]))
        yield f"{column} IN ({listed})"


def reason(error: Exception) -> str:
    """Return an error's first line as a sentence, without Lance's source places."""
    for pattern, words in _STORAGE:
        if found := re.search(pattern, str(error)):
            return f"{words.format(found[1].rstrip('. '))}."
    # Some errors have no message, a MemoryError for example.
    first = (str(error).splitlines() or [type(error).__name__])[0]
    line = re.sub(r", /[^,]*\.rs:\d+:\d+$", "", first)
    return f"{line.rstrip('. ')}."
