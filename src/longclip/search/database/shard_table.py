"""Table of the shards that have been indexed whole, beside the images'.

A shard is a file with many images. What is kept of it saves looking into it again, which for a tar
file means reading all its headers. No row of an image could hold that: images tell what has been
found in a shard, and not that nothing is missing. So a shard's row is written after all of its
images, and deleted before any of them is.
"""

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import pyarrow as pa

from longclip.search.database.lance import PRIMARY_KEY, among, commit, connect, quoted, tables
from longclip.search.sources.image_source import Unusable

TABLE = "shards"
_SCHEMA = pa.schema(
    [
        pa.field("place", pa.string(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("source", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("bad", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class IndexedShard:
    """A shard all of whose images are in the database.

    Attributes:
        place: path or URL of the file; its images are called `place::member`.
        source: what was indexed when it was found.
        stamp: tells whether the file is still the same.
        images: how many of them could be used.
        unusable: those that could not.
    """

    place: str
    source: str
    stamp: str
    images: int
    unusable: tuple[Unusable, ...] = ()


class ShardTable:
    """Table of the indexed shards of a database; made when something is put into it."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._database = connect(place)
        self._table = None
        if TABLE in tables(self._database):
            try:
                self._table = self._database.open_table(TABLE)
            except Exception:  # see `lance.reading`
                self._drop_damaged()

    def _drop_damaged(self) -> None:
        """Drop the whole table: without it, shards are looked into again, and nothing is lost."""
        warnings.warn(
            f"{self._place}: its table of finished shards is damaged and was dropped; all shards "
            "are looked into again",
            stacklevel=3,
        )
        self._table = None
        commit(self._place, lambda: self._database.drop_table(TABLE))

    def indexed(self, source: str) -> dict[str, IndexedShard]:
        """Return the indexed shards of a source, by place."""
        if self._table is None:
            return {}
        try:
            rows = self._table.search().where(f"source = {quoted(source)}").to_list()
        except Exception:  # see `lance.reading`
            self._drop_damaged()
            return {}
        return {
            row["place"]: IndexedShard(
                place=row["place"],
                source=row["source"],
                stamp=row["stamp"],
                images=row["images"],
                unusable=tuple(Unusable(**image) for image in json.loads(row["bad"])),
            )
            for row in rows
        }

    def put(self, shards: Sequence[IndexedShard]) -> None:
        """Keep these, in the place of what was known of them."""
        if not shards:
            return
        if self._table is None:
            make = partial(self._database.create_table, TABLE, schema=_SCHEMA, exist_ok=True)
            self._table = commit(self._place, make)
        columns = [
            vars(shard) | {"bad": json.dumps([asdict(image) for image in shard.unusable])}
            for shard in shards
        ]
        rows = pa.Table.from_pylist(columns, schema=_SCHEMA)
        merging = self._table.merge_insert("place")
        merging = merging.when_matched_update_all().when_not_matched_insert_all()
        commit(self._place, lambda: merging.execute(rows))

    def drop(self, places: Iterable[str]) -> None:
        """Take these for not indexed."""
        for where in among("place", list(places)):
            self._delete(where)

    def drop_source(self, source: str) -> None:
        """Take all of a source for not indexed."""
        self._delete(f"source = {quoted(source)}")

    def drop_all(self) -> None:
        """Take nothing for indexed."""
        if self._table is not None:
            self._table = None
            commit(self._place, lambda: self._database.drop_table(TABLE))

    def tidy(self) -> None:
        """Join what many small writes have left."""
        table = self._table
        if table is not None:
            commit(self._place, table.optimize)

    def _delete(self, where: str) -> None:
        table = self._table
        if table is not None:
            commit(self._place, lambda: table.delete(where))
