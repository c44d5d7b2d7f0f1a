"""Tables of images: Parquet with the images in it, JSON lines with their paths, data sets."""

import io
import os
import threading
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from longclip.data import Captions, Collection, open_collection
from longclip.data.json_files import read_jsonl
from longclip.data.storage import file_info, is_url, open_file
from longclip.data.table import USUAL, strings
from longclip.errors import SearchError, UsageError
from longclip.search.sources.file_sources import FileSource, read_file
from longclip.search.sources.image_source import (
    CAPTION_COLUMNS,
    PART,
    Item,
    Listing,
    Unlisted,
    UnlistedKind,
    search_errors,
)


class ParquetSource:
    """The rows of a Parquet file with an image column, on disk or in object storage.

    A row counts as changed when the file has changed: only reading it all would tell more.

    Args:
        place: path or URL.
    """

    def __init__(self, place: str) -> None:
        self.name = place if is_url(place) else os.path.abspath(place)
        self._lock = threading.Lock()
        self._group: tuple[int, Any] = (-1, None)
        self._starts: list[int] = []

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the name alone: what is open stays in this process."""
        return ParquetSource, (self.name,)

    @search_errors()
    def list(self) -> Listing:
        """Return as many items as the file has rows."""
        changed = file_info(self.name).mtime_ns
        starts = self._open()
        items = [Item(f"{self.name}{PART}{row}", None, changed, row) for row in range(starts[-1])]
        return Listing(items)

    def read(self, item: Item) -> bytes:
        """Return the image of a row: embedded, or a file whose path starts where the table is."""
        value = next(
            (v for name, v in self._row(item.place).items() if name in USUAL["image"]), None
        )
        path = value.get("path") if isinstance(value, dict) else value
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, bytes):
            return content
        if not isinstance(path, str) or is_url(self.name):
            raise UsageError(f"row {item.place} has no image")
        return read_file(str(Path(self.name).parent / path))

    def caption(self, item: Item) -> str | None:
        """Return the text of the usual columns."""
        row = self._row(item.place)
        return next(
            (" ".join(strings(row[k])) for k in CAPTION_COLUMNS if strings(row.get(k))), None
        )

    def _open(self) -> Sequence[int]:
        """Return the first row of each row group, and the number of rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with open_file(self.name) as file:
                about = pq.ParquetFile(file)
                names = about.schema_arrow.names
                sizes = [about.metadata.row_group(i).num_rows for i in range(about.num_row_groups)]
        except (OSError, pa.ArrowException) as error:
            raise SearchError(f"{self.name} cannot be read as parquet: {error}") from None
        if not set(USUAL["image"]) & set(names):
            raise SearchError(
                f"{self.name} has no column {', '.join(USUAL['image'])} among {', '.join(names)}; "
                "name the one with the images so"
            )
        self._starts = [0]
        for size in sizes:
            self._starts.append(self._starts[-1] + size)
        return self._starts

    def _row(self, row: int) -> dict[str, Any]:
        """Return one row; the group around it is kept, as its neighbours are asked for next."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._lock:
            starts = self._starts or self._open()
            number = bisect_right(starts, row) - 1
            if row >= starts[-1]:
                raise self._gone(row)
            if self._group[0] != number:
                try:
                    with open_file(self.name) as file:
                        whole = pq.ParquetFile(file)
                        wanted = {*USUAL["image"], *CAPTION_COLUMNS}
                        columns = [n for n in whole.schema_arrow.names if n in wanted]
                        rows = whole.read_row_group(number, columns)
                except pa.ArrowException as error:
                    raise UsageError(f"the file is damaged ({error}); fetch it again") from None
                self._group = (number, rows)
            rows = self._group[1]
        if row - starts[number] >= rows.num_rows:
            raise self._gone(row)
        return {name: rows[name][row - starts[number]].as_py() for name in rows.column_names}

    def _gone(self, row: int) -> FileNotFoundError:
        """Return the error for a file that has been overwritten since it was listed."""
        return FileNotFoundError(f"{self.name} has no row {row} any more")


class LinesSource:
    """The image files that a JSON-lines file names, with the captions that it holds."""

    def __init__(self, path: str) -> None:
        self.name = os.path.abspath(path)

    @search_errors()
    def list(self) -> Listing:
        """Return an item for each file; the captions of rows with the same one are joined."""
        about = file_info(self.name)
        rows = read_jsonl(Path(self.name))
        captions: dict[str, list[str]] = {}
        for row in rows:
            values = row if isinstance(row, dict) else {}
            name = next((v for k in USUAL["image"] if isinstance(v := values.get(k), str)), None)
            if name is None:
                raise SearchError(
                    f"{self.name}: a row has no {', '.join(USUAL['image'])} with the path of a file"
                )
            path = os.path.abspath(Path(self.name).parent / name)
            texts = captions.setdefault(path, [])
            texts += next((found for k in CAPTION_COLUMNS if (found := strings(values.get(k)))), ())
        items, unlisted = [], []
        for path, texts in captions.items():
            try:
                [item] = FileSource(path).list().items
            except SearchError as error:
                unlisted.append(Unlisted(path, str(error), kind=UnlistedKind.IMAGE))
                continue
            changed = max(item.mtime_ns, about.mtime_ns)
            items.append(Item(path, item.bytes, changed, " ".join(texts)))
        return Listing(items, unlisted)

    def read(self, item: Item) -> bytes:
        """Read the file."""
        return read_file(item.uri)

    def caption(self, item: Item) -> str | None:
        """Return the text of the file's rows."""
        return item.place or None


class CollectionSource:
    """Images of anything else that `longclip.data.open_collection` takes, such as `scenes/test`.

    Which images a collection has is taken never to change.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._collection: Collection | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the name alone: in another process the collection is opened once."""
        return _collection, (self.name,)

    @search_errors()
    def list(self) -> Listing:
        """Return as many items as it has."""
        count = len(self._opened())
        return Listing([Item(f"{self.name}{PART}{i}", None, 0, i) for i in range(count)])

    def read(self, item: Item) -> bytes:
        """Return the image file; a PNG where the collection draws its images."""
        collection = self._opened()
        content = collection.image_file(item.place)
        if content is None:
            buffer = io.BytesIO()
            collection.image(item.place).save(buffer, "PNG", compress_level=1)
            content = buffer.getvalue()
        return content

    def caption(self, item: Item) -> str | None:
        """Return its long text, or the short ones."""
        captions: Captions = self._opened().captions(item.place)
        return " ".join(captions.long[:1] or captions.short) or None

    def _opened(self) -> Collection:
        with self._lock:
            if self._collection is None:
                self._collection = open_collection(self.name)
            return self._collection


@lru_cache(maxsize=8)
def _collection(name: str) -> CollectionSource:
    return CollectionSource(name)
