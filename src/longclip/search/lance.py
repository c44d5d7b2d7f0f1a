"""What all tables of a database share: the connection, SQL strings, what errors say."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from longclip.search.errors import SearchError


def connect(place: str) -> Any:
    """The LanceDB in a directory or at a URL."""
    # Lance warns on standard error of changes to come in its own interface, once for every query.
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb
    except ImportError as error:
        raise SearchError('image search needs LanceDB: pip install "longclip[search]"') from error
    return lancedb.connect(place)


def tables(database: Any) -> list[str]:
    """Names of its tables."""
    found = database.list_tables()
    return list(getattr(found, "tables", found))


def commit(place: str, change: Callable[[], object]) -> None:
    """Change a table; raises SearchError where that cannot be written."""
    try:
        change()
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchError(
            f"{place} cannot be written: {reason(error)}. All that was written before is "
            "whole; run the same command again to go on from there"
        ) from error


def quoted(text: str) -> str:
    """A string as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def listed(values: Sequence[str]) -> str:
    """Strings as SQL's IN takes them."""
    return ", ".join(map(quoted, values))


def reason(error: Exception) -> str:
    """The first line as a sentence, without Lance's own columns and places in its source code."""
    line = re.sub(r", /[^,]*\.rs:\d+:\d+$", "", str(error).splitlines()[0])
    line = re.sub(r"\. Valid fields are .*", "", line).rstrip(". ")
    return line if line.endswith("?") else f"{line}."
