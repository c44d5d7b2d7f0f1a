"""Filters at random against a slow evaluation, and broken ones."""

import tempfile
from functools import cache
from pathlib import Path

from lancedb.index import BTree

from longclip.search.database.schema import ImageRow
from longclip.search.database.store import Store
from tests.helpers.databases import database
from tests.helpers.random_filters import check_filter, table_rows


def attempt(seed: int, _: Path) -> None:
    store, rows = _table()
    check_filter(store, rows, seed)


@cache
def _table() -> tuple[Store, list[ImageRow]]:
    """Make a table of which half is in an index, as where images came in after it was made."""
    rows = table_rows()
    store = database(Path(tempfile.mkdtemp()), rows)
    store.delete([row.facts.uri for row in rows[20:]])
    store.table.create_index("uri", config=BTree())
    store.put(rows[20:])
    return store, rows
