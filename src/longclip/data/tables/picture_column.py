"""The column of a table that holds pictures: which are there, and which rows show the same one."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from longclip.data.tables.picture_values import separate_base64, spellings
from longclip.util.terminal import progress_display

_BATCH_ROWS = 1000
_PROBE_BYTES = 64
_MAY_FOLD_NAMES = sys.platform in ("win32", "darwin")
"""Whether a file may be there under a name that differs in case or in its Unicode form."""


class PictureBatch(NamedTuple):
    """Some rows of a picture column, as arrays of pyarrow with a null where a row has none.

    Attributes:
        contents: embedded files; their bytes stay on disk until they are asked for, unless they
            are in base64.
        paths: of files.
    """

    contents: Any
    paths: Any


def picture_batches(rows: Any, column: str) -> Iterator[PictureBatch]:
    """Yield the rows of a table of `datasets`, one batch after the other."""
    import pyarrow as pa

    table = rows.select_columns([column]).with_format("arrow")
    for batch in table.iter(batch_size=_BATCH_ROWS):
        for chunk in batch.column(0).chunks:
            fields = {"bytes": chunk, "path": chunk}
            if pa.types.is_struct(chunk.type):
                # Not `field`, which forgets that a whole row may be null.
                names = [chunk.type.field(i).name for i in range(chunk.type.num_fields)]
                fields = dict(zip(names, chunk.flatten(), strict=True))
            nothing = pa.nulls(len(chunk))
            contents, paths = (fields.get(name, nothing) for name in ("bytes", "path"))
            is_binary = pa.types.is_binary(contents.type) or pa.types.is_large_binary(contents.type)
            is_text = pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)
            yield PictureBatch(
                *separate_base64(
                    contents if is_binary else nothing.cast(pa.binary()),
                    paths if is_text else nothing.cast(pa.string()),
                )
            )


class PictureFolders:
    """Folders that paths of pictures start from.

    Each folder on the way is listed once: asking for a million files one by one takes minutes on a
    network file system.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [os.path.abspath(root) for root in roots]
        self._listed: dict[str, list[_Folder]] = {}

    def find(self, name: str) -> tuple[str, bool]:
        """Return the path of the first file of this name, and whether there is one."""
        tried = map(self._find, spellings(name))
        first = next(tried)
        return first if first[1] else next((found for found in tried if found[1]), first)

    def _find(self, name: str) -> tuple[str, bool]:
        # This runs for every row of a table: os.path would take longer than all the rest.
        inside, slash, file = name.replace(os.sep, "/").rpartition("/")
        inside += slash
        if inside not in self._listed:
            self._listed[inside] = [_Folder(os.path.join(root, inside)) for root in self._roots]
        folders = self._listed[inside]
        found = next((folder for folder in folders if folder.holds(file)), None)
        return f"{(found or folders[0]).path}/{file}", found is not None


class _Folder:
    """A folder and the names in it, None where they cannot be listed."""

    def __init__(self, path: str) -> None:
        self.path = os.path.normpath(path)
        self._names: frozenset[str] | None = frozenset()
        try:
            self._names = frozenset(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            pass
        except OSError:  # its files may be readable all the same
            self._names = None

    def holds(self, name: str) -> bool:
        if self._names is None or (_MAY_FOLD_NAMES and self._names and name not in self._names):
            return os.path.isfile(os.path.join(self.path, name))
        return name in self._names


@dataclass(frozen=True, eq=False)
class PictureRows:
    """Rows of a table by their pictures.

    Attributes:
        first: int64 [rows], the first row that shows the same picture.
        there: bool [rows], whether the row has a picture, embedded or in a file that is there.
        paths: int64 [rows], a hash of the path of a file in this process; 0 without a file.
    """

    first: NDArray[np.int64]
    there: NDArray[np.bool_]
    paths: NDArray[np.int64]


def read_picture_rows(
    rows: Any, column: str, folders: PictureFolders, *, compare_content: bool
) -> PictureRows:
    """Find out which rows have a picture, and which have the same.

    Paths are compared, and contents that are embedded where `compare_content`. Of these only what
    has an equal in length and in a few bytes is read whole, which shows its progress.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    count = len(rows)
    first, there = np.arange(count), np.ones(count, np.bool_)
    sizes, paths = np.zeros(count, np.int64), np.zeros(count, np.int64)
    places: list[Any] = []
    start = 0
    for batch in picture_batches(rows, column):
        here = slice(start, start + len(batch.paths))
        start = here.stop
        sizes[here] = pc.fill_null(pc.binary_length(batch.contents), 0).to_numpy()
        found = [
            folders.find(path) if path and not size else None
            for path, size in zip(batch.paths.to_pylist(), sizes[here].tolist(), strict=True)
        ]
        there[here] = (sizes[here] > 0) | [pair is not None and pair[1] for pair in found]
        # As bytes: a path need not be text.
        encoded = [None if pair is None else os.fsencode(pair[0]) for pair in found]
        paths[here] = [0 if path is None else hash(path) for path in encoded]
        places.append(pa.array(encoded, pa.large_binary()))
    if not count:
        return PictureRows(first, there, paths)
    codes = pa.chunked_array(places).combine_chunks().dictionary_encode().indices
    with_path = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    _set_first(first, with_path, codes.drop_null().to_numpy())
    if compare_content:
        _compare_contents(rows, column, sizes, first)
    return PictureRows(first, there, paths)


def hash_contents(rows: Any, column: str, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a hash of the length and a few bytes of the embedded pictures of some rows."""
    return _digests(rows, column, wanted, whole=False).view(np.int64)[::2]


def _set_first(
    first: NDArray[np.int64], rows: NDArray[np.int64], keys: NDArray[Any]
) -> NDArray[np.int64]:
    """Set the first row of each of `rows` by equal keys; return the rows that have an equal."""
    _, opening, inverse, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    first[rows] = rows[opening][inverse]
    return rows[counts[inverse] > 1]


def _compare_contents(
    rows: Any, column: str, sizes: NDArray[np.int64], first: NDArray[np.int64]
) -> None:
    """Set the first row of each embedded picture, by its content."""
    scratch = first.copy()
    embedded = np.flatnonzero(sizes)
    alike = _set_first(scratch, embedded, sizes[embedded])
    if not len(alike):
        return
    # Compressed pictures of one length differ in their middle or end already.
    probes = _digests(rows, column, alike, whole=False)
    alike = _set_first(scratch, alike, probes)
    if len(alike):
        _set_first(first, alike, _digests(rows, column, alike, whole=True))


def _digests(
    rows: Any, column: str, wanted: NDArray[np.int64], *, whole: bool
) -> NDArray[np.bytes_]:
    """Return a digest of the length and the content, or of a few bytes of it, of some rows."""
    digests = np.empty(len(wanted), "V16")
    total, done, start = len(wanted), 0, 0
    with progress_display() as progress:
        for batch in picture_batches(rows, column):
            stop = start + len(batch.contents)
            while done < total and wanted[done] < stop:
                content = memoryview(batch.contents[int(wanted[done]) - start].as_buffer())
                hashed = hashlib.blake2b(digest_size=16)
                if whole:
                    hashed.update(content)
                else:
                    middle = len(content) // 2
                    hashed.update(len(content).to_bytes(8, "big"))
                    hashed.update(content[middle : middle + _PROBE_BYTES])
                    hashed.update(content[-_PROBE_BYTES:])
                digests[done] = hashed.digest()
                done += 1
            start = stop
            if whole:
                progress("comparing pictures of rows", done, total)
    return digests


class RowGroups:
    """Rows of a table that belong to one picture each, in the order of the first rows.

    Args:
        first: int64 [rows], the first row that shows the same picture.
        kept: bool [rows], those to take.
    """

    def __init__(self, first: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(kept)
        first = first[rows]
        in_order = np.argsort(first, kind="stable")
        self._rows, first = rows[in_order], first[in_order]
        opens = np.flatnonzero(np.diff(first, prepend=-1))
        self._starts = np.append(opens, len(first))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def row_count(self) -> int:
        """Number of rows in all groups."""
        return len(self._rows)

    def __getitem__(self, index: int) -> list[int]:
        """Return the rows of one picture.

        Raises:
            IndexError: if there is no such picture.
        """
        index = range(len(self))[index]
        rows: list[int] = self._rows[self._starts[index] : self._starts[index + 1]].tolist()
        return rows

    def firsts(self) -> NDArray[np.int64]:
        """Return the first row of each picture, int64 [pictures]."""
        firsts: NDArray[np.int64] = self._rows[self._starts[:-1]]
        return firsts

    def several(self) -> list[int]:
        """Return the pictures that have more than one row."""
        return np.flatnonzero(np.diff(self._starts) > 1).tolist()
