"""Reader of a database: LanceDB, on disk or in object storage.

Rows are keyed by `uri`. What is read stays as it was when the database was opened, or refreshed,
whatever others write meanwhile.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longclip.data.storage import is_url
from longclip.errors import SearchError
from longclip.search.database.checksums import check_files
from longclip.search.database.lance import among, connect, quoted, reading, tables
from longclip.search.database.origin import ORIGIN_NAME
from longclip.search.database.schema import PACKED, About, Facts, ImageRow, IndexQuality
from longclip.search.sources.image_source import PART, container_of

TABLE = "images"
SOURCES = "longclip.sources"
QUALITY = "longclip.quality"
"""Keys in the metadata of the columns `source` and `vector`."""

_ROWS_AT_ONCE = 65_536
"""Rows of a batch, where a whole table is read."""


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
class IndexedImage:
    """State of an image file when it was indexed, by which a change shows, and its source."""

    bytes: int
    mtime_ns: int
    sha256: str
    source: str


def check_no_other_files(place: str) -> None:
    """Refuse a folder that holds something else as the place of a database.

    What lies in a database is not indexed: of a folder of pictures with the tables among them,
    nothing would be found.

    Raises:
        SearchError: where there are files and none of a database.
    """
    if is_url(place) or not os.path.isdir(place):
        return
    names = [name for name in os.listdir(place) if not name.startswith(".")]
    if names and not any(name == ORIGIN_NAME or name.endswith(".lance") for name in names):
        raise SearchError(
            f"{place} holds no database but other files, such as {min(names)}; the place of a "
            f"database is a folder of its own: --db {place.rstrip('/')}.db"
        )


class Reader:
    """A database that is there, to be read; any number at a time.

    Its methods raise UnreadableError where the database cannot be read any more.
    """

    def __init__(self, place: str, table: Any) -> None:
        self.place = place
        self._table = table
        with reading(place):
            # What a manifest of nothing but zeros describes.
            if not table.schema.names:
                raise ValueError("it has no columns")
            self.about = About.read(table.schema.metadata, place)
        self._quality: tuple[IndexQuality | None] | None = None
        self.max_seconds: float | None = None
        """Seconds after which the database gives up a search or a count; None for never."""

    @classmethod
    def open(cls, place: str, version: int | None = None) -> Self:
        """Open the database in a directory or at a URL of object storage (`s3://…`, `gs://…`).

        Args:
            place: where it is.
            version: to read it as it was then, see `version`; as it is now where None.

        Raises:
            SearchError: where there is none; says how to make it.
        """
        if not cls.exists(place):
            check_no_other_files(place)
            if not is_url(place) and os.path.isfile(place):
                raise SearchError(
                    f"{place} is a file, and a database is a folder; name the one that "
                    "`longclip index` wrote, or make one: longclip index FOLDER --db "
                    f"{place}.db"
                )
            raise SearchError(
                f"{place} holds no database; make one: longclip index FOLDER --db {place}"
            )
        with reading(place):
            table = connect(place).open_table(TABLE)
            if version is not None:
                table.checkout(version)
        return cls(place, table)

    @staticmethod
    def exists(place: str) -> bool:
        """Return whether there is a database."""
        if is_url(place):
            return TABLE in tables(connect(place))
        # What LanceDB lists; its answer is an object of a library that takes most of a second.
        return os.path.isdir(os.path.join(place, f"{TABLE}.lance"))

    @property
    def table(self) -> Any:
        """Return the `lancedb` table, for what is not offered here."""
        return self._table

    def version(self) -> int:
        """Return a number that grows with every write; old versions stay for an hour."""
        return int(self._table.version)

    def refresh(self) -> None:
        """Read what others have written since."""
        self._table.checkout_latest()
        self._quality = None

    def __len__(self) -> int:
        return self.count()

    def sources(self) -> list[str]:
        """List what has been indexed, as `open_image_source` takes it."""
        with reading(self.place):
            return list(json.loads(self._kept("source", SOURCES) or "[]"))

    def quality(self) -> IndexQuality | None:
        """Return what was measured last of the vector index; None where every search is exact."""
        if (known := self._quality) is None:
            kept = self._kept("vector", QUALITY)
            with reading(self.place):
                known = (IndexQuality(**json.loads(kept)) if kept else None,)
            self._quality = known
        return known[0]

    def _kept(self, field: str, key: str) -> str | None:
        metadata = self._table.schema.field(field).metadata or {}
        found = metadata.get(key.encode())
        return found.decode() if found is not None else None

    def indexed_from(self, *sources: str) -> dict[str, IndexedImage]:
        """Return what has been indexed from some sources, by `uri`."""
        return self._indexed(*among("source", sources))

    def indexed_at(self, uris: Sequence[str]) -> dict[str, IndexedImage]:
        """Return what has been indexed of these, from any source."""
        return self._indexed(*among("uri", uris))

    def containers(self, where: str) -> set[str]:
        """Return the files with many images that hold those which satisfy a condition."""
        return {
            container
            for batch in self.scan(["uri"], where=where)
            for uri in batch.column(0).to_pylist()
            if (container := container_of(uri)) is not None
        }

    def indexed_in(self, container: str) -> dict[str, IndexedImage]:
        """Return what has been indexed from a file that holds many images."""
        first = container + PART
        # A range, which the B-tree of `uri` answers; it ends before the first string that comes
        # after all those with this beginning.
        end = first[:-1] + chr(ord(first[-1]) + 1)
        return self._indexed(f"uri >= {quoted(first)} AND uri < {quoted(end)}")

    def hashes_among(self, hashes: Sequence[str]) -> set[str]:
        """Return those of the `sha256` that are there."""
        return {
            sha256
            for where in among("sha256", hashes)
            for batch in self.scan(["sha256"], where=where)
            for sha256 in batch.column(0).to_pylist()
        }

    def originals(self, hashes: Sequence[str]) -> dict[str, ImageRow]:
        """Return one row for each of these `sha256` that is there."""
        # First without thumbnails: thousands of files may have the same content.
        uri_of: dict[str, str] = {}
        for where in among("sha256", hashes):
            for batch in self.scan(["sha256", "uri"], where=where):
                columns = [batch.column(name).to_pylist() for name in ("sha256", "uri")]
                uri_of |= zip(*columns, strict=True)
        return {row.facts.sha256: row for row in self.rows("uri", list(uri_of.values()))}

    def _indexed(self, *conditions: str) -> dict[str, IndexedImage]:
        names = ["uri", "bytes", "mtime_ns", "sha256", "source"]
        found: dict[str, IndexedImage] = {}
        for where in conditions:
            for batch in self.scan(names, where=where):
                columns = [batch.column(name).to_pylist() for name in names]
                for uri, *values in zip(*columns, strict=True):
                    found[uri] = IndexedImage(*values)
        return found

    def rows(self, column: str, values: Sequence[str]) -> list[ImageRow]:
        """Return whole rows whose `uri`, `id` or `sha256` is one of `values`."""
        return [
            ImageRow(facts, vector, thumbnail)
            for where in among(column, values)
            for batch in self.scan([PACKED, "vector", "thumbnail"], where=where)
            for facts, vector, thumbnail in zip(
                self._unpacked(batch.column(PACKED)),
                matrix(batch.column("vector")),
                batch.column("thumbnail").to_pylist(),
                strict=True,
            )
        ]

    def facts(self, id: str) -> Facts | None:
        """Return the facts of an image."""
        found = self._table.search().where(f"id = {quoted(id)}").select([PACKED]).limit(1)
        return next(iter(self._unpacked(self._answered(found)[PACKED])), None)

    def thumbnail(self, id: str) -> bytes | None:
        """Return the small JPEG of an image."""
        found = self._table.search().where(f"id = {quoted(id)}").select(["thumbnail"]).limit(1)
        return next(iter(self._answered(found)["thumbnail"].to_pylist()), None)

    def sample(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Return float32 [at most count, D]: embeddings of images drawn without replacement."""
        total = len(self)
        if not total:
            return np.empty((0, self.about.width), np.float32)
        chosen = np.random.default_rng(seed).choice(total, min(count, total), replace=False)
        found = self._table.take_offsets(np.sort(chosen).tolist()).select(["vector"])
        return matrix(self._answered(found)["vector"])

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
        """Return the images whose embeddings have the largest cosine with `vector`, best first.

        Args:
            vector: float32 [D], of any length but zero.
            count: how many at most.
            where: a condition as the database reads it (see `Query.condition`), applied before the
                search; never a text of somebody else's.
            exact: compare with every row, even if there is an index.
            probes: partitions of the index that are looked into; as measured for this table
                (see `vector_index`) where None. Where `where` leaves too few images in them, more
                are.
            refine: how many times `count` candidates are compared again with whole vectors;
                likewise.
        """
        query = self._table.search(vector, vector_column_name="vector")
        query = query.distance_type("cosine").select([PACKED, "vector", "_distance"]).limit(count)
        if where:
            query = query.where(where)
        if exact:
            query = query.bypass_vector_index()
        else:
            kept = self.quality()
            if probes := probes or (kept.probes if kept else None):
                query = query.nprobes(probes)
            # The index holds rounded vectors: whole ones put its candidates into their order.
            if refine := refine or (kept.refine if kept else None):
                query = query.refine_factor(refine)
            if where:
                # No limit: where too few images of those partitions satisfy it, others are probed.
                query = query.maximum_nprobes(0)
        found = self._answered(query)
        facts = self._unpacked(found[PACKED])
        similarities = (1 - distance for distance in found["_distance"].to_pylist())
        return [*map(Hit, facts, similarities, matrix(found["vector"]))]

    def newest(self, count: int, offset: int = 0, where: str | None = None) -> list[Facts]:
        """Return the images taken last, or changed last where that is not known, newest first.

        Args:
            count: how many at most.
            offset: how many of them are left out first.
            where: a condition as the database reads it, see `nearest`.

        Raises:
            SearchError: where that takes longer than `max_seconds`.
        """
        import pyarrow.compute as pc  # which no search needs

        end = None if self.max_seconds is None else time.monotonic() + self.max_seconds
        query = self._table.search().select(["taken", "mtime_ns"]).with_row_id(True)
        query = query.where(where) if where else query
        # Row ids and times of the newest so far: what is held does not grow with the table.
        ids, times = np.empty(0, np.uint64), np.empty(0, np.int64)
        with reading(self.place):
            for batch in query.to_batches(_ROWS_AT_ONCE):
                if end is not None and time.monotonic() > end:
                    raise SearchError(
                        f"the database did not answer within {self.max_seconds:g} s; ask with a "
                        "simpler filter"
                    )
                taken = batch["taken"].cast(pa.timestamp("ns"), safe=False).cast(pa.int64())
                when = pc.coalesce(taken, batch["mtime_ns"]).to_numpy(zero_copy_only=False)
                ids = np.concatenate([ids, batch["_rowid"].to_numpy(zero_copy_only=False)])
                times = np.concatenate([times, when])
                best = np.lexsort((ids, -times))[: offset + count]
                ids, times = ids[best], times[best]
        wanted = ids[offset:].tolist()
        if not wanted:
            return []
        found = self._answered(self._table.take_row_ids(wanted).select([PACKED]).with_row_id())
        facts = dict(zip(found["_rowid"].to_pylist(), self._unpacked(found[PACKED]), strict=True))
        # A row that was written anew meanwhile has another number.
        return [facts[each] for each in wanted if each in facts]

    def _answered(self, query: Any) -> pa.Table:
        most = self.max_seconds
        with reading(self.place):
            try:
                found: pa.Table = query.to_arrow(timeout=timedelta(seconds=most) if most else None)
            except RuntimeError as error:
                if "Query timeout" not in str(error):
                    raise
                raise SearchError(
                    f"the database did not answer within {most:g} s; ask with a simpler filter"
                ) from error
        return found

    def _unpacked(self, column: pa.ChunkedArray) -> list[Facts]:
        with reading(self.place):
            return [Facts.unpack(packed) for packed in column.to_pylist()]

    def count(self, where: str | None = None) -> int:
        """Count the images that satisfy a condition."""
        if where and self.max_seconds is not None:
            # A count by itself cannot be stopped.
            rows = self._table.search().where(where).select([]).with_row_id(True)
            return len(self._answered(rows))
        with reading(self.place):
            return int(self._table.count_rows(where))

    def scan(
        self,
        columns: Sequence[str],
        rows: int = _ROWS_AT_ONCE,
        where: str | None = None,
        limit: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield all rows, or those that satisfy a condition, in batches of these columns."""
        query = self._table.search().select(list(columns))
        query = query.where(where) if where else query
        query = query.limit(limit) if limit is not None else query
        with reading(self.place):
            yield from query.to_batches(rows)


def matrix(column: pa.ChunkedArray | pa.FixedSizeListArray) -> NDArray[np.float32]:
    """Return a column of embeddings as float32 [N, D]."""
    width = column.type.list_size
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    # None is null, so this is what `flatten` gives, which imports all of Arrow's functions.
    numbers = (c.values.slice(c.offset * width, len(c) * width) for c in chunks)
    parts = [each.to_numpy(zero_copy_only=False) for each in numbers]
    whole = np.concatenate(parts) if parts else np.empty(0, np.float16)
    return whole.reshape(-1, width).astype(np.float32)


@dataclass(frozen=True)
class Status:
    """Content of a database.

    Attributes:
        place: where it is.
        about: the model it was made with.
        images: rows.
        contents: different files among them.
        disk_bytes: what it takes on disk; None in object storage.
        sources: images by what was indexed.
        quality: of the vector index, where there is one.
    """

    place: str
    about: About
    images: int
    contents: int
    disk_bytes: int | None
    sources: dict[str, int]
    quality: IndexQuality | None


def status(place: str) -> Status:
    """Return the content of a database; raises SearchError where there is none.

    All of its files are compared with their checksums; that takes two seconds for a gigabyte.
    """
    check_files(place)
    store = Reader.open(place)
    disk_bytes = 0
    for parent, _, names in () if is_url(place) else os.walk(place):
        for name in names:
            with suppress(OSError):  # a writer has just tidied it away
                disk_bytes += os.stat(os.path.join(parent, name)).st_size
    sources: Counter[str] = Counter(dict.fromkeys(store.sources(), 0))
    contents: set[str] = set()
    for batch in store.scan(["source", "sha256"]):
        sources.update(batch.column("source").to_pylist())
        contents.update(batch.column("sha256").to_pylist())
    return Status(
        place=place,
        about=store.about,
        images=len(store),
        contents=len(contents),
        disk_bytes=None if is_url(place) else disk_bytes,
        sources=dict(sources),
        quality=store.quality(),
    )
