"""Tables of images: Parquet with the images in it, CSV or JSON with their paths, data sets."""

import io
import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from longclip.data import Captions, Collection, open_collection
from longclip.data.storage import file_info, is_url, open_file
from longclip.data.tables.columns import USUAL, usual_column, usual_columns
from longclip.data.tables.picture_values import picture_of_base64, spellings
from longclip.data.tables.rows import read_rows
from longclip.errors import SearchError, UsageError
from longclip.search.sources.file_sources import FileSource, read_file
from longclip.search.sources.image_source import (
    PART,
    Item,
    Listing,
    Unlisted,
    UnlistedKind,
    caption_of_row,
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
        row = self._row(item.place)
        value = row[usual_column("image", row) or ""]
        path = value.get("path") if isinstance(value, dict) else value
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, str):
            content = picture_of_base64(content)
        if isinstance(content, bytes):
            return content
        if not isinstance(path, str) or is_url(self.name):
            raise UsageError(f"row {item.place} has no image")
        return read_file(_path_in(Path(self.name).parent, path))

    def caption(self, item: Item) -> str | None:
        """Return the text of the usual columns."""
        return caption_of_row(self._row(item.place))

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
        if usual_column("image", names) is None:
            raise _no_image_column(self.name, names)
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
                        names = whole.schema_arrow.names
                        wanted = [usual_columns(r, names) for r in ("image", "long", "short")]
                        rows = whole.read_row_group(
                            number, [*wanted[0][:1], *wanted[1], *wanted[2]]
                        )
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


class ListSource:
    """The image files that a CSV, TSV or JSON file names, with the captions that it holds."""

    def __init__(self, path: str) -> None:
        self.name = os.path.abspath(path)

    @search_errors()
    def list(self) -> Listing:
        """Return an item for each file; the captions of rows with the same one are joined."""
        about = file_info(self.name)
        captions: dict[str, list[str]] = {}
        names: dict[str, None] = {}
        unlisted: list[Unlisted] = []
        for number, row in enumerate(read_rows(Path(self.name))):
            names |= dict.fromkeys(row)
            path = next(
                (v for n in usual_columns("image", row) if isinstance(v := row[n], str)), ""
            )
            if not path or is_url(path.removeprefix("file://")) or picture_of_base64(path):
                what = f"{path:.80}, which is no file" if path else "no file"
                place = f"{self.name}{PART}{number}"
                unlisted.append(Unlisted(place, f"the row names {what}", kind=UnlistedKind.IMAGE))
                continue
            texts = captions.setdefault(_path_in(Path(self.name).parent, path), [])
            texts += filter(None, [caption_of_row(row)])
        if unlisted and not captions:
            if usual_column("image", names) is None:
                raise _no_image_column(self.name, names)
            raise SearchError(
                f"{self.name} names no files: {unlisted[0].reason}; name paths of files"
            )
        items = []
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


def _path_in(folder: Path, name: str) -> str:
    """Return the path of the file that a row means, spelled as the disk has it."""
    places = [os.path.abspath(folder / path) for path in spellings(name)]
    return next(filter(os.path.isfile, places), places[0]) if len(places) > 1 else places[0]


def _no_image_column(name: str, columns: Iterable[str]) -> SearchError:
    return SearchError(
        f"{name} has no image column among {', '.join(columns)}; call the one with the images or "
        f"their paths {', '.join(USUAL['image'][:3])}"
    )


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
