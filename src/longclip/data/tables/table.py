"""A table as a collection: its rows of one picture are one image."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.data.captions import Captions, sort_by_length
from longclip.data.collection import MAX_PICTURES_READ, Collection, LabelSet
from longclip.data.tables.columns import ADDRESSES, USUAL, Columns, strings, usual_column
from longclip.data.tables.picture_column import (
    PictureFolders,
    RowGroups,
    hash_contents,
    picture_batches,
    read_picture_rows,
)
from longclip.data.tables.picture_values import check_picture_column, picture_of_base64, spellings
from longclip.errors import DataError, ImageError
from longclip.image.decode import decode_image
from longclip.util.digest import Digest, spread
from longclip.util.regular_files import open_regular

_MAX_COMPARED = 200_000
"""Embedded pictures of one table that are compared with those of others."""

_MAX_NAMED_PICTURES = 3


class Table(Collection):
    """A `datasets` table as a Collection; rows that show the same picture are one image.

    Rows are compared by the paths of their pictures, or by the content of embedded ones. Of texts
    in a column that the user has not named, lengths decide which are long (`sort_by_length`).

    Args:
        name: as reports show it.
        rows: the table.
        root: the folder that paths of pictures start from.
        columns: which mean what.
        images: folders to look for pictures in before `root`. Where some are named, rows whose
            picture is in none are left out.
        as_written: take each row for an image and each column for what its name says, as the
            protocol of a benchmark does.
        texts_only: leave out rows without a text, where any row has one.

    Attributes:
        missing: how many rows have been left out.
        problems: a line that says so, if there were any; one for pictures with two labels.
        texts_remedy: what to do where there are no texts.

    Raises:
        DataError: if there are no rows, a column that was named is not there, or none has pictures.
    """

    texts_remedy = "name the one with texts with --short-column or --long-column"

    def __init__(
        self,
        name: str,
        rows: Any,
        root: Path,
        columns: Columns,
        *,
        images: Sequence[Path] = (),
        as_written: bool = False,
        texts_only: bool = False,
    ) -> None:
        self.name = name
        if not len(rows):
            raise DataError(f"{name} has no rows; write or copy it again")
        self._roots = tuple(dict.fromkeys((*images, root)))
        self._columns = _find_columns(name, rows, columns)
        self._by_length = not as_written and columns.short is None
        image = self._columns["image"]
        if image is None:
            remedy = "say which one it is with --image-column"
            if any(column.strip().casefold() in ADDRESSES for column in rows.column_names):
                remedy += "; pictures at addresses have to be downloaded first"
            raise DataError(
                f"{name} has no image column among {', '.join(rows.column_names)}; {remedy}"
            )
        check_picture_column(name, rows, image)
        import datasets

        if isinstance(rows.features[image], datasets.Image):
            # Files stay as they are: what becomes of a picture is decided in one place, by us.
            rows = rows.cast_column(image, datasets.Image(decode=False))
        self._rows = rows
        # Reading a caption from all columns would read the picture as well.
        self._texts = rows.select_columns(
            [self._columns[role] for role in ("short", "long") if self._columns[role]]
        )
        # Without texts every row is a picture with its label, be it there twice or not.
        merge = not as_written and bool(self._texts.column_names)
        pictures = read_picture_rows(
            rows, image, PictureFolders(self._roots), compare_content=merge
        )
        first = pictures.first if merge else np.arange(len(rows))
        kept = pictures.there if images else np.ones(len(rows), np.bool_)
        without = kept & ~self._rows_with_texts() if texts_only else np.zeros_like(kept)
        self._has_texts = bool((kept & ~without).any())
        if not self._has_texts:
            without = np.zeros_like(kept)
        self._groups = RowGroups(first, kept & ~without)
        self.absent = np.flatnonzero(~pictures.there[self._groups.firsts()]).tolist()
        self._path_hashes = pictures.paths[self._groups.firsts()]
        self.rows = self._groups.row_count
        short, long = self._columns["short"], self._columns["long"]
        self.origins = (short or "", long or short or "")
        self.missing = len(rows) - self.rows
        self.problems = (
            *self._left_out(kept),
            *self._without_texts(without),
            *self._absent(),
            *self._two_labels(),
        )
        if not len(self):
            raise DataError(f"{self.problems[0]}; name the folder that they lie in with --images")

    def __len__(self) -> int:
        return len(self._groups)

    def image(self, index: int) -> Image.Image:
        """Decode one picture."""
        source = self._source(index)
        try:
            return decode_image(source)
        except ImageError as error:
            raise ImageError(f"{self._title(index)}: {error}") from None

    def image_file(self, index: int) -> bytes:
        """Return the bytes that are embedded, or those of the file that is named."""
        source = self._source(index)
        if isinstance(source, bytes):
            return source
        try:
            with open_regular(source) as file:
                return file.read()
        except (OSError, ValueError) as error:  # ValueError is a path with a null character
            reason = error.strerror if isinstance(error, OSError) else error
            raise ImageError(f"{self._title(index)}: {source}: {reason}") from None

    def captions(self, index: int) -> Captions:
        """Return the texts of one picture, those of all its rows; empty ones are left out."""
        values = self._texts[self._groups[index]] if self._texts.column_names else {}
        short, long = (
            [text for value in values.get(self._columns[role] or "", ()) for text in strings(value)]
            for role in ("short", "long")
        )
        if not self._by_length:
            return Captions(tuple(short), tuple(long))
        return sort_by_length(short, long)

    def picture_hashes(self) -> Sequence[int]:
        """Return a hash of each path, or of a few bytes of an embedded picture."""
        hashes = self._path_hashes.copy()
        embedded = np.flatnonzero(hashes == 0)
        if len(embedded) > _MAX_COMPARED:
            return ()
        rows = self._groups.firsts()[embedded]
        in_order = np.argsort(rows)
        found = hash_contents(self._rows, self._columns["image"] or "", rows[in_order])
        hashes[embedded[in_order]] = found
        return list(map(int, hashes))

    def fingerprint(self) -> str:
        """Return the SHA-256 of all texts and paths, and of an even choice of pictures.

        Texts and paths are read in batches: a million rows take seconds.
        """
        digest = Digest()
        for role in ("short", "long"):
            digest.add(role, str(bool(self._columns[role])), str(self._by_length))
        for batch in self._texts.iter(batch_size=1000) if self._texts.column_names else ():
            for role in ("short", "long"):
                values = batch.get(self._columns[role] or "", ())
                digest.add(json.dumps(values, default=str, ensure_ascii=False))
        for batch in picture_batches(self._rows, self._columns["image"] or ""):
            digest.add(*(self._relative(path) for path in batch.paths.to_pylist()))
        for index in spread(len(self), MAX_PICTURES_READ):
            try:
                digest.add(self.key(index))
            except ImageError:
                digest.add("no picture")
        return digest.hexdigest()

    def _relative(self, path: str | None) -> str:
        """Return the path of a picture as it is in every copy of the data."""
        for root in self._roots:
            inside = os.path.join(os.path.abspath(root), "")
            if path and path.startswith(inside):
                return path.removeprefix(inside)
        return path or ""

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the label column, if there is one; classes are in order of their number or name.

        Numbers are in their order also where they are texts, as in a CSV file.

        Raises:
            DataError: if a row has no label.
        """
        column = self._columns["label"]
        if column is None:
            return ()
        firsts = self._groups.firsts().tolist()
        feature, of_row = self._rows.features[column], list(self._rows[column])
        values = [of_row[row] for row in firsts]
        empty = next((i for i, value in enumerate(values) if value in (None, "")), None)
        if empty is not None:
            raise DataError(
                f"{self._title(empty)}: column {column!r} has no label; leave "
                "such rows out, or name another column with --label-column"
            )
        if self.numbered_labels:
            return (LabelSet(column, tuple(feature.names), tuple(values)),)
        classes = sorted(set(values))
        if all(str(value).isdecimal() for value in classes):
            classes.sort(key=int)
        number = {value: i for i, value in enumerate(classes)}
        return (LabelSet(column, tuple(map(str, classes)), tuple(number[v] for v in values)),)

    @property
    def numbered_labels(self) -> bool:
        """Return whether labels are numbers into a list of names that comes with the table."""
        column = self._columns["label"]
        return column is not None and hasattr(self._rows.features[column], "names")

    def _source(self, index: int) -> Path | bytes:
        """Return the bytes embedded in a row, or the first path that has the file it names."""
        value = self._rows[self._groups[index][0]][self._columns["image"]]
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ImageError(f"{self._title(index)}: no picture ({value!r:.60})")
        if (content := picture_of_base64(value)) is not None:
            return content
        places = [root / path for root in self._roots for path in spellings(value)]
        if len(places) == 1:  # nothing to choose: who reads the file finds out whether it is there
            return places[0]
        return next((place for place in places if place.is_file()), places[0])

    def _title(self, index: int) -> str:
        return f"{self.name}, row {self._groups[index][0]}"

    def require_texts(self) -> None:
        """Raise where no row has a text; only of a table that was opened with `texts_only`.

        Raises:
            DataError: names the columns there are, and the options to say which one it is.
        """
        if not self._has_texts:
            empty = ", ".join(map(repr, self._texts.column_names))
            raise DataError(
                f"{self.name} has no texts{f' in {empty}' if empty else ''}, only the columns "
                f"{', '.join(self._rows.column_names)}; {self.texts_remedy}"
            )

    def _rows_with_texts(self) -> NDArray[np.bool_]:
        """Return for each row whether it has a text that is not blank, bool [rows]."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = np.zeros(len(self._rows), np.bool_)
        for name in self._texts.column_names:
            column, start = self._texts.select_columns([name]).with_format("arrow"), 0
            for batch in column.iter(batch_size=10_000):
                values = batch.column(0)
                if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
                    lengths = pc.binary_length(pc.utf8_trim_whitespace(values))
                    has_text = pc.fill_null(lengths, 0).to_numpy() > 0
                else:
                    has_text = np.array([bool(strings(value)) for value in values.to_pylist()])
                found[start : start + len(values)] |= has_text
                start += len(values)
        return found

    def _without_texts(self, left_out: NDArray[np.bool_]) -> Iterator[str]:
        """Yield a line that counts and names the rows without a text, if there are any."""
        rows = np.flatnonzero(left_out)
        if len(rows):
            named = ", ".join(map(str, rows[:_MAX_NAMED_PICTURES]))
            more = ", …" if len(rows) > _MAX_NAMED_PICTURES else ""
            columns = " and ".join(map(repr, self._texts.column_names))
            yield (
                f"{len(rows):,} of {len(self._rows):,} rows left out: no text in {columns} "
                f"(row {named}{more})"
            )

    def _left_out(self, kept: NDArray[np.bool_]) -> Iterator[str]:
        """Yield a line that counts and names the rows without a picture, if there are any."""
        rows = np.flatnonzero(~kept)
        if len(rows):
            values = self._rows.select(rows[:_MAX_NAMED_PICTURES])[self._columns["image"]]
            named = [_path_of(value) for value in values]
            more = ", …" if len(rows) > _MAX_NAMED_PICTURES else ""
            yield (
                f"{len(rows):,} of {len(self._rows):,} rows left out: no such picture "
                f"({', '.join(named)}{more}) in {', '.join(map(str, self._roots))}"
            )

    def _absent(self) -> Iterator[str]:
        """Yield a line on pictures that are not there although no folder was named, likewise."""
        if self.absent:
            rows = [self._groups[index][0] for index in self.absent[:_MAX_NAMED_PICTURES]]
            named = [_path_of(value) for value in self._rows.select(rows)[self._columns["image"]]]
            more = ", …" if len(self.absent) > _MAX_NAMED_PICTURES else ""
            yield (
                f"{len(self.absent):,} of {len(self):,} pictures are not there ({', '.join(named)}"
                f"{more}); name the folder that they lie in with --images FOLDER"
            )

    def _two_labels(self) -> Iterator[str]:
        """Yield a line on pictures whose rows have different labels, if there are any."""
        column, several = self._columns["label"], self._groups.several()
        if column is None or not several:
            return
        values = list(self._rows[column])
        different = [i for i in several if len({values[row] for row in self._groups[i]}) > 1]
        if different:
            rows = self._groups[different[0]]
            labels = ", ".join(dict.fromkeys(str(values[row]) for row in rows))
            what = "picture has" if len(different) == 1 else "pictures have"
            yield (
                f"{len(different):,} {what} rows with different labels, of which the first "
                f"counts (row {rows[0]}: {labels})"
            )


def _path_of(value: Any) -> str:
    """Return what a row says about its picture, in a few words."""
    path = value.get("path") if isinstance(value, Mapping) else value
    return f"{path!s:.60}"


def _find_columns(name: str, rows: Any, columns: Columns) -> dict[str, str | None]:
    """Return the column of each role, named or found; a column has one role.

    Raises:
        DataError: if a column that was named is not there, or was named twice.
    """
    named = {role: getattr(columns, role) for role in USUAL}
    for wanted in named.values():
        if wanted is not None and wanted not in rows.column_names:
            raise DataError(
                f"{name} has no column {wanted!r}; its columns are {', '.join(rows.column_names)}"
            )
    given = [column for column in named.values() if column is not None]
    twice = [column for column in dict.fromkeys(given) if given.count(column) > 1]
    if twice:
        flags = ", ".join(f"--{role}-column" for role in USUAL if named[role] == twice[0])
        raise DataError(
            f"{name}: {flags} all name the column {twice[0]!r}, which can be one of them; lengths "
            "decide which texts of a column without a name are long"
        )
    free = [column for column in rows.column_names if column not in named.values()]
    return {
        role: usual_column(role, free) if named[role] is None else named[role] for role in USUAL
    }
