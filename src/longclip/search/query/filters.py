"""Filters: SQL conditions on the facts of images."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from longclip.errors import FilterError
from longclip.search.database.lance import quoted
from longclip.search.database.reader import Reader


def combined_filter(
    where: str | None = None,
    *,
    folder: str | None = None,
    after: str | None = None,
    before: str | None = None,
) -> str | None:
    """Return an SQL condition that asks for all of these; None where nothing is asked.

    Args:
        where: an SQL condition.
        folder: the image lies there or below; as in `Facts.folder`. Archives are folders, too.
        after: taken then or later: `2024`, `2024-05`, `2024-05-31` or with a time.
        before: taken earlier than that.

    Raises:
        FilterError: where a date cannot be read.
    """
    conditions = [f"({where})"] if where and where.strip() else []
    if folder and folder.strip():
        conditions.append(_inside(folder.strip()))
    if after and after.strip():
        conditions.append(f"taken >= {_timestamp(after.strip())}")
    if before and before.strip():
        conditions.append(f"taken < {_timestamp(before.strip())}")
    return " AND ".join(conditions) or None


@contextmanager
def naming_as_written(store: Reader, where: str | None) -> Iterator[None]:
    """Blame `where` as the user wrote it where a combined condition cannot be read.

    Args:
        store: what is searched.
        where: as it was given to `combined_filter`.
    """
    try:
        yield
    except FilterError:
        if where and where.strip():
            store.count(where)  # raises, and names this alone
        raise


def _inside(folder: str) -> str:
    place = folder.rstrip("/") or "/"
    below = place if place == "/" else f"{place}/"
    starts = " OR ".join(f"starts_with(folder, {quoted(x)})" for x in (below, f"{place}::"))
    return f"(folder = {quoted(place)} OR {starts})"


def _timestamp(date: str) -> str:
    whole = re.sub(r"^(\d{4})$", r"\1-01", date)
    whole = re.sub(r"^(\d{4}-\d\d)$", r"\1-01", whole)
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError as error:
        raise FilterError(
            f"{date!r} is no date; write 2024, 2024-05, 2024-05-31 or 2024-05-31T18:30"
        ) from error
    # Cameras write the time of the place, so an offset has nothing to be compared with.
    return f"timestamp {quoted(moment.replace(tzinfo=None).isoformat(' '))}"
