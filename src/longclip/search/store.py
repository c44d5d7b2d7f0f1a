"""The table of images: LanceDB, on disk or in object storage.

Every write is one commit: after a kill the table is as it was before or after it, never between.
Rows are keyed by `uri` and written by merging, so writing them again changes nothing.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longclip.search.about import About
from longclip.search.errors import FilterError, SearchError, UnreadableError
from longclip.search.lance import commit, connect, is_storage, listed, quoted, reason, tables
from longclip.search.rows import FACTS, PACKED, Facts, Row, schema, to_arrow
from longclip.search.shards import ShardTable
from longclip.search.sources.item import PART, container_of

TABLE = "images"
_SOURCES = "longclip.sources"
_QUALITY = "longclip.quality"
"""Keys in the metadata of the columns `source` and `vector`."""
_OLD_VERSIONS = timedelta(hours=1)
"""How long what a reader may still be looking at is kept after a write."""


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        facts: what is known of it.
        similarity: its cosine with the query.
        vector: float32 [D], its embedding as it is stored.
    """

    facts: Facts
    similarity: float
    vector: NDArray[np.float32] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What tells whether a file has changed, and where it was found."""

    bytes: int
    mtime_ns: int
    sha256: str
    source: str


class Store:
    """A database that is there. One writer at a time (see `locking`), any number of readers."""

    def __init__(self, place: str, table: Any) -> None:
        self.place = place
        self._table = table
        self.about = About.read(table.schema.metadata, place)
        self._depth: tuple[int | None, int | None] | None = None

    @staticmethod
    def open(place: str, version: int | None = None) -> "Store":
        """The database in a directory or at a URL of object storage (`s3://…`, `gs://…`).

        Args:
            place: where it is.
            version: to read it as it was then, see `version`; as it is now where None.

        Raises:
            SearchError: where there is none; says how to make it.
        """
        if not Store.exists(place):
            raise SearchError(
                f"{place} holds no database; make one: longclip index FOLDER --db {place}"
            )
        table = connect(place).open_table(TABLE)
        if version is not None:
            table.checkout(version)
        return Store(place, table)

    @staticmethod
    def create(
        place: str, about: About, *, replace: bool = False, sources: Sequence[str] = ()
    ) -> "Store":
        """A new, empty database; with `replace` in the place of the one that is there."""
        form = schema(about.width, about.metadata())
        number = form.get_field_index("source")
        kept = form.field(number).with_metadata({_SOURCES: json.dumps(list(sources))})
        form = form.set(number, kept)
        mode = "overwrite" if replace else "create"
        if replace:
            ShardTable(place).drop_all()
        database = connect(place)
        make = partial(database.create_table, TABLE, schema=form, mode=mode)
        return Store(place, commit(place, make))

    @staticmethod
    def exists(place: str) -> bool:
        """Whether there is a database."""
        if "://" not in place and not os.path.isdir(place):
            return False
        return TABLE in tables(connect(place))

    @property
    def table(self) -> Any:
        """The `lancedb` table, for what is not offered here."""
        return self._table

    def version(self) -> int:
        """Grows with every write; old ones stay for an hour."""
        return int(self._table.version)

    def refresh(self) -> None:
        """See what others have written."""
        self._table.checkout_latest()
        self._depth = None

    def __len__(self) -> int:
        return int(self._table.count_rows())

    # Writing.

    def put(self, rows: Sequence[Row]) -> None:
        """Write rows, in place of those with the same `uri`."""
        if not rows:
            return
        data = to_arrow(list(rows), self._table.schema)
        merging = self._table.merge_insert("uri")
        merging = merging.when_matched_update_all().when_not_matched_insert_all()
        self.commit(lambda: merging.execute(data))

    def remember(self, sources: Sequence[str]) -> None:
        """Keep the names of what is indexed, so that it can be indexed again without naming it."""
        new = [name for name in dict.fromkeys(sources) if name not in self.sources()]
        if new:
            self._keep("source", _SOURCES, json.dumps([*self.sources(), *new]))

    def forget(self, source: str) -> None:
        """Remove a source and all rows from it."""
        where = f"source = {quoted(source)}"
        shards = ShardTable(self.place)
        shards.drop_source(source)
        # A shard is noted under the source that was the last to hold it, a row under the first.
        shards.drop(self.containers(where))
        self.commit(lambda: self._table.delete(where))
        left = [name for name in self.sources() if name != source]
        self._keep("source", _SOURCES, json.dumps(left))

    def delete(self, uris: Sequence[str]) -> None:
        """Forget images; those that are not there do not matter."""
        containers = {container for uri in uris if (container := container_of(uri)) is not None}
        if containers:
            # Before the rows: a shard that was taken for whole would not be looked into again.
            ShardTable(self.place).drop(containers)
        for start in range(0, len(uris), 1000):
            where = f"uri IN ({listed(uris[start : start + 1000])})"
            self.commit(partial(self._table.delete, where))

    def compact(self) -> None:
        """Join small files, add new rows to the indexes, remove versions nobody reads any more."""
        self.commit(lambda: self._table.optimize(cleanup_older_than=_OLD_VERSIONS))

    def keep_quality(self, quality: str) -> None:
        """Keep what has been measured of the vector index, in the table itself."""
        self._keep("vector", _QUALITY, quality)
        self._depth = None

    def _keep(self, field: str, key: str, value: str) -> None:
        kept = {"path": field, "metadata": {key: value}}
        self.commit(lambda: self._table.update_field_metadata(kept))

    def commit(self, change: Callable[[], object]) -> None:
        """Change the table; raises SearchError where that cannot be written."""
        commit(self.place, change)

    # Reading.

    def sources(self) -> list[str]:
        """What has been indexed, as `open_source` takes it."""
        return list(json.loads(self._kept("source", _SOURCES) or "[]"))

    def quality(self) -> str | None:
        """What `keep_quality` has kept last."""
        return self._kept("vector", _QUALITY)

    def _kept(self, field: str, key: str) -> str | None:
        metadata = self._table.schema.field(field).metadata or {}
        found = metadata.get(key.encode())
        return found.decode() if found is not None else None

    def known(self, *sources: str) -> dict[str, Known]:
        """What has been indexed from some sources, by `uri`."""
        return self._known(f"source IN ({listed(sources)})") if sources else {}

    def known_at(self, uris: Sequence[str]) -> dict[str, Known]:
        """What has been indexed of these, from whatever source."""
        return self._known(f"uri IN ({listed(uris)})") if uris else {}

    def containers(self, where: str) -> set[str]:
        """The files with many images in which those that satisfy a condition lie."""
        return {
            container
            for batch in self.scan(["uri"], where=where)
            for uri in batch.column(0).to_pylist()
            if (container := container_of(uri)) is not None
        }

    def known_in(self, container: str) -> dict[str, Known]:
        """What has been indexed from a file that holds many images."""
        first = container + PART
        return self._known(f"uri >= {quoted(first)} AND uri < {quoted(_after(first))}")

    def hashes_among(self, hashes: Sequence[str]) -> set[str]:
        """Which of these `sha256` are there."""
        if not hashes:
            return set()
        query = self._table.search().where(f"sha256 IN ({listed(hashes)})").select(["sha256"])
        return set(query.to_arrow()["sha256"].to_pylist())

    def originals(self, hashes: Sequence[str]) -> dict[str, Row]:
        """One row for each of these `sha256` that is there."""
        if not hashes:
            return {}
        query = self._table.search().where(f"sha256 IN ({listed(hashes)})")
        # First without thumbnails: thousands of files may have the same content.
        found = query.select(["uri", "sha256"]).to_arrow()
        uri_of = dict(zip(found["sha256"].to_pylist(), found["uri"].to_pylist(), strict=True))
        return {row.facts.sha256: row for row in self.rows("uri", list(uri_of.values()))}

    def _known(self, where: str) -> dict[str, Known]:
        query = self._table.search().where(where)
        names = ["uri", "bytes", "mtime_ns", "sha256", "source"]
        found: dict[str, Known] = {}
        for batch in query.select(names).to_batches(65536):
            columns = [batch.column(name).to_pylist() for name in names]
            for uri, *values in zip(*columns, strict=True):
                found[uri] = Known(*values)
        return found

    def rows(self, column: str, values: Sequence[str]) -> list[Row]:
        """Whole rows whose `uri`, `id` or `sha256` is one of `values`."""
        if not values:
            return []
        query = self._table.search().where(f"{column} IN ({listed(values)})")
        found = _answered(query.select([PACKED, "vector", "thumbnail"]))
        return [_row(values) for values in found.to_pylist()]

    def facts(self, id: str) -> Facts | None:
        """What is known of an image."""
        found = self._table.search().where(f"id = {quoted(id)}").select([PACKED]).limit(1)
        return next(map(Facts.unpack, _answered(found)[PACKED].to_pylist()), None)

    def thumbnail(self, id: str) -> bytes | None:
        """The small JPEG of an image."""
        found = self._table.search().where(f"id = {quoted(id)}").select(["thumbnail"]).limit(1)
        return next(iter(_answered(found)["thumbnail"].to_pylist()), None)

    def sample(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """float32 [at most count, D]: embeddings of images drawn without replacement."""
        total = len(self)
        if not total:
            return self._no_vectors()
        chosen = np.random.default_rng(seed).choice(total, min(count, total), replace=False)
        found = self._table.take_offsets(np.sort(chosen).tolist()).select(["vector"]).to_arrow()
        return matrix(found["vector"])

    def nearest(
        self,
        vector: NDArray[np.float32],
        count: int,
        *,
        where: str | None = None,
        exact: bool = False,
        probes: int | None = None,
        refine: int | None = None,
    ) -> list[Hit]:
        """The images whose embeddings have the largest cosine with `vector`, best first.

        Args:
            vector: float32 [D], of any length but zero.
            count: how many at most.
            where: an SQL condition on the columns, applied before the search.
            exact: compare with every row, even if there is an index.
            probes: partitions of the index that are looked into; as measured for this table
                (see `ann`) where None. Where `where` leaves too few images in them, more are.
            refine: how many times `count` candidates are compared again with whole vectors;
                likewise.

        Raises:
            FilterError: where `where` cannot be read.
        """
        query = self._table.search(vector, vector_column_name="vector")
        query = query.distance_type("cosine").select([PACKED, "vector", "_distance"]).limit(count)
        if where:
            query = query.where(where)
        if exact:
            query = query.bypass_vector_index()
        else:
            query = self._probing(query, probes, refine)
            if where:
                query = query.maximum_nprobes(0)
        found = _answered(query, where)
        facts = map(Facts.unpack, found[PACKED].to_pylist())
        similarities = (1 - distance for distance in found["_distance"].to_pylist())
        return [*map(Hit, facts, similarities, matrix(found["vector"]))]

    def count(self, where: str | None = None) -> int:
        """Images that satisfy a condition."""
        try:
            return int(self._table.count_rows(where))
        except (ValueError, RuntimeError) as error:
            raise _unanswered(where, error) from error

    def scan(
        self, columns: Sequence[str], rows: int = 65536, where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """All rows, or those that satisfy a condition, a batch at a time, of these columns."""
        query = self._table.search().select(list(columns))
        yield from (query.where(where) if where else query).to_batches(rows)

    def _probing(self, query: Any, probes: int | None, refine: int | None) -> Any:
        if self._depth is None:
            kept = json.loads(self.quality() or "{}")
            self._depth = kept.get("probes"), kept.get("refine")
        probes, refine = probes or self._depth[0], refine or self._depth[1]
        if probes:
            query = query.nprobes(probes)
        return query.refine_factor(refine) if refine else query

    def _no_vectors(self) -> NDArray[np.float32]:
        return np.empty((0, self.about.width), np.float32)


def _after(prefix: str) -> str:
    """The first string that comes after all those that begin like this."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _answered(query: Any, where: str | None = None) -> pa.Table:
    try:
        found: pa.Table = query.to_arrow()
    except (ValueError, RuntimeError) as error:
        raise _unanswered(where, error) from error
    return found


def _unanswered(where: str | None, error: Exception) -> SearchError:
    """Blames the database or the filter, as the one or the other is at fault."""
    if where is None or is_storage(error):
        return UnreadableError(f"the database cannot be read: {reason(error)}")
    return FilterError(
        f"the filter {where!r} cannot be read: {reason(error)} It is an SQL condition on "
        f"{', '.join(FACTS)}; for example: taken >= timestamp '2024-01-01' AND folder LIKE '%/sea%'"
    )


def matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> NDArray[np.float32]:
    """A column of embeddings as float32 [N, D]."""
    width = column.type.list_size
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    whole = np.concatenate(parts) if parts else np.empty(0, np.float16)
    return whole.reshape(-1, width).astype(np.float32)


def _row(values: dict[str, Any]) -> Row:
    vector = np.asarray(values["vector"], np.float32)
    return Row(Facts.unpack(values[PACKED]), vector, values["thumbnail"])
