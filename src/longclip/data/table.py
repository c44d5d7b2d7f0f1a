"""Tables of the `datasets` library as collections, and where their picture files are."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import Collection, LabelSet
from longclip.errors import DataError, ImageError
from longclip.image.decode import decode_image


@dataclass(frozen=True)
class Columns:
    """Which columns mean what; None looks for the usual names."""

    image: str | None = None
    """Pictures (embedded, or paths relative to the file): image, file_name, path."""
    short: str | None = None
    """Short captions, one or a list: short, captions, caption, sentences, text."""
    long: str | None = None
    """Long descriptions, one or a list: long, long_caption, description."""
    label: str | None = None
    """Class names or class numbers: label."""


USUAL = {
    "image": ("image", "file_name", "path"),
    "short": ("short", "captions", "caption", "sentences", "text"),
    "long": ("long", "long_caption", "description"),
    "label": ("label",),
}

_MAX_NAMED_PICTURES = 3


class Table(Collection):
    """A `datasets` table as a Collection.

    Args:
        name: what reports call it.
        rows: the table.
        root: the folder that paths of pictures start from.
        columns: which mean what.
        images: folders to look for pictures in before `root`. Where some are named, rows whose
            picture is in none are left out.

    Attributes:
        missing: how many rows have been left out.
        problems: a line that says so, if there were any.
    """

    def __init__(
        self, name: str, rows: Any, root: Path, columns: Columns, *, images: Sequence[Path] = ()
    ) -> None:
        self.name = name
        self._roots = tuple(dict.fromkeys((*images, root)))
        self._columns = {role: _find(name, rows, role, columns) for role in USUAL}
        image = self._columns["image"]
        if image is None:
            raise DataError(
                f"{name} has no image column among {', '.join(rows.column_names)}; "
                "say which one it is with --image-column"
            )
        if images and getattr(rows.features[image], "dtype", None) == "string":
            whole = len(rows)
            rows, self.missing, examples = rows_with_pictures(rows, image, self._roots)
            if self.missing:
                self.problems = (missing_pictures(self.missing, whole, examples, self._roots),)
        self._rows = _undecoded(rows, image)
        self._texts = rows.select_columns(
            [self._columns[role] for role in ("short", "long") if self._columns[role]]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int) -> Image.Image:
        """Decode the picture of one row."""
        source = self._source(index)
        try:
            return decode_image(source)
        except ImageError as error:
            raise ImageError(f"{self.name}, row {index}: {error}") from None

    def image_file(self, index: int) -> bytes:
        """Return what is embedded in one row, or the file it names."""
        source = self._source(index)
        if isinstance(source, bytes):
            return source
        try:
            return source.read_bytes()
        except OSError as error:
            raise ImageError(f"{self.name}, row {index}: {source}: {error.strerror}") from None

    def captions(self, index: int) -> Captions:
        """Return the texts of one row; empty ones are left out."""
        row = self._texts[index] if self._texts.column_names else {}
        return Captions(
            *(strings(row.get(self._columns[role] or "")) for role in ("short", "long"))
        )

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the label column, if there is one; classes are in order of their number or name.

        Raises:
            DataError: if a row has no label.
        """
        column = self._columns["label"]
        if column is None:
            return ()
        feature, values = self._rows.features[column], list(self._rows[column])
        if None in values:
            raise DataError(
                f"{self.name}, row {values.index(None)}: column {column!r} has no label; leave "
                "such rows out, or name another column with --label-column"
            )
        if self.numbered_labels:
            return (LabelSet(column, tuple(feature.names), tuple(values)),)
        classes = sorted(set(values))
        number = {value: i for i, value in enumerate(classes)}
        return (LabelSet(column, tuple(map(str, classes)), tuple(number[v] for v in values)),)

    @property
    def numbered_labels(self) -> bool:
        """Return whether labels are numbers into a list of names that comes with the table."""
        column = self._columns["label"]
        return column is not None and hasattr(self._rows.features[column], "names")

    def _source(self, index: int) -> Path | bytes:
        value = self._rows[index][self._columns["image"]]
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ImageError(f"{self.name}, row {index}: no picture ({value!r:.60})")
        return find_picture(value, self._roots)


def _undecoded(rows: Any, column: str) -> Any:
    import datasets

    if isinstance(rows.features[column], datasets.Image):
        return rows.cast_column(column, datasets.Image(decode=False))
    return rows


def _find(name: str, rows: Any, role: str, columns: Columns) -> str | None:
    wanted = getattr(columns, role)
    if wanted is None:
        return next((usual for usual in USUAL[role] if usual in rows.column_names), None)
    if wanted not in rows.column_names:
        raise DataError(
            f"{name} has no column {wanted!r}; its columns are {', '.join(rows.column_names)}"
        )
    return str(wanted)


def strings(value: Any) -> tuple[str, ...]:
    """Return one text or a list of them as a tuple, without what is empty or no text."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(text for text in values if isinstance(text, str) and text.strip())


def find_picture(name: str, roots: Sequence[Path]) -> Path:
    """Return the file `name` in the first of `roots` that has one; in the first if none has."""
    places = [root / name for root in roots]
    if len(places) == 1:
        return places[0]
    return next((place for place in places if place.is_file()), places[0])


def _are_there(names: Iterable[str | None], roots: Sequence[Path]) -> list[bool]:
    """Return whether each picture is in one of `roots`.

    Every folder is listed once: asking for a million files one by one takes minutes on a network
    file system.
    """
    contents: dict[str, frozenset[str]] = {}

    def holds(root: Path, name: str) -> bool:
        folder, file = os.path.split(os.path.join(root, name))
        if folder not in contents:
            try:
                contents[folder] = frozenset(os.listdir(folder))
            except OSError:
                contents[folder] = frozenset()
        return file in contents[folder]

    return [name is not None and any(holds(root, name) for root in roots) for name in names]


def rows_with_pictures(rows: Any, column: str, roots: Sequence[Path]) -> tuple[Any, int, list[str]]:
    """Select the rows of a `datasets` table whose picture is there.

    Returns:
        The rows, how many were left out, and the names of the first few of those.
    """
    names = [
        name
        for part in rows.select_columns([column]).iter(batch_size=1000)
        for name in part[column]
    ]
    kept = np.array(_are_there(names, roots), np.bool_)
    examples = [str(names[i]) for i in np.flatnonzero(~kept)[:_MAX_NAMED_PICTURES]]
    missing = int((~kept).sum())
    return rows.select(np.flatnonzero(kept)) if missing else rows, missing, examples


def missing_pictures(missing: int, of: int, examples: Sequence[str], roots: Sequence[Path]) -> str:
    """Return one line for the rows that have been left out."""
    more = ", …" if missing > len(examples) else ""
    return (
        f"{missing:,} of {of:,} rows left out: no such picture ({', '.join(examples)}{more}) in "
        f"{', '.join(map(str, roots))}"
    )
