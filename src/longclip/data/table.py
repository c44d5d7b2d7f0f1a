"""Tables as collections: Parquet, CSV, JSON, what `datasets` has saved, and the hub's."""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.data.captions import Captions, sort_by_length
from longclip.data.collection import MAX_PICTURES_READ, Collection, LabelSet
from longclip.data.names import ACCEPTED, TABLE_SUFFIXES, is_saved
from longclip.data.picture_column import (
    PictureFolders,
    RowGroups,
    hash_contents,
    picture_batches,
    read_picture_rows,
)
from longclip.data.picture_values import check_picture_column, picture_of_base64, spellings
from longclip.data.rows import as_text, read_table
from longclip.errors import DataError, ImageError
from longclip.image.decode import decode_image
from longclip.util.digest import Digest, spread
from longclip.util.files import open_regular


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold pictures, texts and labels; None for the usual names."""

    image: str | None = None
    """Pictures (embedded, or paths relative to the file): image, file_name, path, img, jpg …"""
    short: str | None = None
    """Short captions, one or a list: short, captions, caption, sentences, text, txt."""
    long: str | None = None
    """Long descriptions, one or a list: long, long_caption, description."""
    label: str | None = None
    """Class names or class numbers: label."""


USUAL = {
    "image": (
        *("image", "file_name", "path", "img", "filename", "filepath"),
        *("jpg", "jpeg", "png", "webp"),  # members of a tar shard, as columns
    ),
    "short": ("short", "captions", "caption", "sentences", "text", "txt"),
    "long": ("long", "long_caption", "description"),
    "label": ("label",),
}
"""The usual names of each column of `Columns` in any case, the first one in a table is taken."""

_ADDRESSES = frozenset({"url", "urls", "image_url", "img_url"})
"""Names, in lower case, of columns with addresses of pictures."""

_MAX_COMPARED = 200_000
"""Embedded pictures of one table that are compared with those of others."""

_MAX_NAMED_PICTURES = 3

_REMEDIES = {
    **dict.fromkeys((".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip"), "packed; unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as CSV"),
    ".txt": "a text file; call it .csv if its first line names columns",
}
"""What is to be done about files of other kinds, by their suffix."""


def usual_columns(role: str, names: Iterable[str]) -> list[str]:
    """Return the columns that have a usual name of a role of `Columns`, the likeliest first.

    Case and blanks around a name do not matter.
    """
    place = {usual: i for i, usual in enumerate(USUAL[role])}
    found = ((place.get(name.strip().casefold()), name not in place, name) for name in names)
    return [name for _, _, name in sorted(one for one in found if one[0] is not None)]


def usual_column(role: str, names: Iterable[str]) -> str | None:
    """Return the first of `usual_columns`; None where there is none."""
    return next(iter(usual_columns(role, names)), None)


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
            if any(column.strip().casefold() in _ADDRESSES for column in rows.column_names):
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

        Of a picture in a file it is the size in bytes, of an embedded one the content. Read in
        batches: a million rows take seconds.
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
                source = self._source(index)
                if isinstance(source, bytes):
                    digest.add(self.key(index))
                else:
                    digest.add(str(source.stat().st_size))
            except (ImageError, OSError, ValueError):
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
        DataError: if a column that was named is not there.
    """
    named = {role: getattr(columns, role) for role in USUAL}
    for wanted in named.values():
        if wanted is not None and wanted not in rows.column_names:
            raise DataError(
                f"{name} has no column {wanted!r}; its columns are {', '.join(rows.column_names)}"
            )
    free = [column for column in rows.column_names if column not in named.values()]
    return {
        role: usual_column(role, free) if named[role] is None else named[role] for role in USUAL
    }


def strings(value: Any) -> tuple[str, ...]:
    """Return one text or a list of them as a tuple, without what is empty or no text.

    A number, a truth value or a date is the text that would stand for it in a file.
    """
    values = value if isinstance(value, list | tuple) else [value]
    texts = (as_text(own) for own in values)
    return tuple(text for text in texts if text is not None and text.strip())


def open_table(
    path: Path, columns: Columns, images: Sequence[Path] = (), *, texts_only: bool = False
) -> Table:
    """Open a .csv, .tsv, .jsonl, .json or .parquet file.

    Raises:
        DataError: if it is missing, of another kind, unreadable, or has no rows or no pictures.
    """
    quiet_datasets(path)
    if not path.exists():
        raise DataError(f"no data {str(path)!r}: neither a file, a folder nor `scenes`")
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        reason = _REMEDIES.get(suffix)
        raise DataError(f"{path} is {reason or f'not data longclip reads: {ACCEPTED}'}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; write or copy it again")
    rows = load_parquet([path]) if suffix == ".parquet" else open_rows(path)
    return Table(table_name(path), rows, path.parent, columns, images=images, texts_only=texts_only)


def open_rows(path: Path) -> Any:
    """Return the table of a file that `longclip.data.rows` reads.

    Raises:
        DataError: if it is damaged, or `datasets` is not installed.
    """
    datasets = quiet_datasets(path)
    return datasets.Dataset(datasets.table.InMemoryTable(read_table(path)))


def load_parquet(paths: Sequence[Path]) -> Any:
    """Return the rows of Parquet files, which `datasets` converts once, into its cache.

    Raises:
        DataError: if they cannot be read, or `datasets` is not installed.
    """
    datasets = quiet_datasets(paths[0])
    import pyarrow.parquet as pq

    # `datasets` takes patterns.
    patterns = [glob.escape(str(path)) for path in paths]
    try:
        if not any(pq.read_metadata(path).num_rows for path in paths):
            # `datasets` fails on a file without rows.
            return datasets.Dataset(datasets.table.InMemoryTable(pq.read_table(paths[0])))
        return datasets.load_dataset("parquet", data_files={"train": patterns}, split="train")
    except Exception as error:
        # `datasets` wraps what went wrong in exceptions of its own, many deep.
        raise DataError(
            f"{paths[0]} cannot be read as parquet: {error.__cause__ or error}"
        ) from error


def open_saved(
    path: Path, columns: Columns, images: Sequence[Path] = (), *, texts_only: bool = False
) -> Table:
    """Open a folder that `save_to_disk` has written; it is read from there, not copied.

    Raises:
        DataError: if it is damaged, or holds several parts.
    """
    datasets = quiet_datasets(path)
    if (path / "dataset_dict.json").is_file():
        parts = sorted(folder.name for folder in path.iterdir() if is_saved(folder))
        names = ", ".join(str(path / part) for part in parts)
        raise DataError(f"{path} holds several parts; name the one you mean: {names}")
    try:
        rows = datasets.load_from_disk(str(path))
    except Exception as error:
        raise DataError(f"{path} cannot be read ({error}); save or copy it again") from error
    name = path.absolute().name
    return Table(name, rows, path, columns, images=images, texts_only=texts_only)


def open_hub(
    data: str, columns: Columns, images: Sequence[Path] = (), *, texts_only: bool = False
) -> Table:
    """Open `owner/name`, which means its split train, or `owner/name:split` of the hub.

    Raises:
        DataError: if there is none, it is not for everybody, or there is no network.
    """
    name, _, split = data.partition(":")
    datasets = quiet_datasets(name)
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:
        # Only the words tell what happened: the classes change from one version to the next.
        text = f"{type(error).__name__} {error}".lower()
        short = " ".join(str(error.__cause__ or error).split())[:300]
        offline = ("connect", "offline", "resolve", "timed out", "timeout", "reach")
        if "gated" in text or "401" in text or "403" in text:
            reason = (
                "it is gated or private; ask for access on its page, then log in with "
                "`hf auth login`"
            )
        elif isinstance(error, OSError) and any(word in text for word in offline):
            reason = f"no connection ({short}); check the path or the network"
        else:
            reason = f"{short}; check the name"
        raise DataError(
            f"{data} is no path here and could not be had from the Hugging Face hub: {reason}"
        ) from error
    return Table(data, rows, Path(), columns, images=images, texts_only=texts_only)


def quiet_datasets(data: str | Path) -> Any:
    """Return the `datasets` library, which is made to leave messages to us.

    Raises:
        DataError: if it is not installed, naming `data`.
    """
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(
            f"reading {data} takes the `datasets` library: pip install 'longclip[train]'"
        ) from None
    datasets.disable_progress_bars()
    # It would tell of failures before we do.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    return datasets


def table_name(path: Path) -> str:
    """Return the name of a file or folder in reports."""
    whole = path.absolute()
    return f"{whole.parent.name}/{whole.stem}" if path.is_file() else whole.name
