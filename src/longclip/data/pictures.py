"""Where the picture files of a table are, and which of them are not there."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_NAMED = 3


def find_picture(name: str, roots: Sequence[Path]) -> Path:
    """The file called `name` in the first of `roots` that has one; in the first if none has."""
    places = [root / name for root in roots]
    if len(places) == 1:
        return places[0]
    return next((place for place in places if place.is_file()), places[0])


def there(names: Iterable[str | None], roots: Sequence[Path]) -> list[bool]:
    """Whether each picture is in one of `roots`.

    Every folder is listed once: asking for a million files one by one takes minutes on a network
    file system.
    """
    contents: dict[str, frozenset[str]] = {}

    def holds(root: Path, name: str) -> bool:
        folder, file = os.path.split(os.path.join(root, name))
        if folder not in contents:
            try:
                contents[folder] = frozenset(os.listdir(folder))
            except OSError:
                contents[folder] = frozenset()
        return file in contents[folder]

    return [name is not None and any(holds(root, name) for root in roots) for name in names]


def rows_with_pictures(rows: Any, column: str, roots: Sequence[Path]) -> tuple[Any, int, list[str]]:
    """The rows of a `datasets` table whose picture is there.

    Returns:
        The rows, how many were left out, and the names of the first few of those.
    """
    names = [
        name
        for part in rows.select_columns([column]).iter(batch_size=1000)
        for name in part[column]
    ]
    kept = np.array(there(names, roots), np.bool_)
    examples = [str(names[i]) for i in np.flatnonzero(~kept)[:_NAMED]]
    missing = int((~kept).sum())
    return rows.select(np.flatnonzero(kept)) if missing else rows, missing, examples


def told_missing(missing: int, of: int, examples: Sequence[str], roots: Sequence[Path]) -> str:
    """One line for what has been left out."""
    more = ", …" if missing > len(examples) else ""
    return (
        f"{missing:,} of {of:,} rows left out: no such picture ({', '.join(examples)}{more}) in "
        f"{', '.join(map(str, roots))}"
    )
