"""Connection to LanceDB, and its SQL strings and errors, which all tables of a database share."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from longclip.errors import SearchError

Out = TypeVar("Out")

PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Metadata of the column that names a row: two writers that merge the same one do not double it."""

_MAX_VALUES = 1000
"""Values in one condition: no parser of SQL is made for megabytes of one."""

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
        import lancedb
    except ImportError as error:
        raise SearchError('image search needs LanceDB: pip install "longclip[search]"') from error
    try:
        return lancedb.connect(place)
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchError(f"{place} cannot be opened: {reason(error)}") from error


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
            "whole; run the same command again to go on from there"
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
