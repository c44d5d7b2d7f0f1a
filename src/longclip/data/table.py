"""Parquet, JSON-lines and image folders, read through Hugging Face `datasets`."""

import glob
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from longclip.data.collection import Captions, LabelSet
from longclip.data.pictures import find_picture, rows_with_pictures, told_missing
from longclip.errors import DataError, ImageError
from longclip.inputs import decode_image


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


class Table:
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
        self.missing = 0
        self.problems: tuple[str, ...] = ()
        self._roots = tuple(dict.fromkeys((*images, root)))
        self._columns = {role: _find(name, rows, role, columns) for role in USUAL}
        image = self._columns["image"]
        if image is None:
            raise DataError(
                f"{name} has no image column among {', '.join(rows.column_names)}; "
                "say which one it is with --image-column"
            )
        if images and getattr(rows.features[image], "dtype", None) == "string":
            rows = self._leave_out_missing(rows, image)
        self._rows = _undecoded(rows, image)
        self._texts = rows.select_columns(
            [self._columns[role] for role in ("short", "long") if self._columns[role]]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int) -> Image.Image:
        """Decode the picture of one row."""
        return self._decode(self._source(index), index)

    def image_file(self, index: int) -> bytes:
        """What is embedded in one row, or the file it names."""
        source = self._source(index)
        if isinstance(source, bytes):
            return source
        try:
            return source.read_bytes()
        except OSError as error:
            raise ImageError(f"{self.name}, row {index}: {source}: {error.strerror}") from None

    def key(self, index: int) -> str:
        """The hash of the file's bytes."""
        return hashlib.sha256(self.image_file(index)).hexdigest()

    def captions(self, index: int) -> Captions:
        """The texts of one row; empty ones are left out."""
        row = self._texts[index] if self._texts.column_names else {}
        return Captions(
            *(strings(row.get(self._columns[role] or "")) for role in ("short", "long"))
        )

    def label_sets(self) -> Sequence[LabelSet]:
        """The label column, if there is one; class names are in order of their number or name.

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
        if hasattr(feature, "names"):
            return (LabelSet(column, tuple(feature.names), tuple(values)),)
        classes = sorted(set(values))
        number = {value: i for i, value in enumerate(classes)}
        return (LabelSet(column, tuple(map(str, classes)), tuple(number[v] for v in values)),)

    def _source(self, index: int) -> Path | bytes:
        value = self._rows[index][self._columns["image"]]
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ImageError(f"{self.name}, row {index}: no picture ({value!r:.60})")
        return find_picture(value, self._roots)

    def _leave_out_missing(self, rows: Any, image: str) -> Any:
        kept, self.missing, examples = rows_with_pictures(rows, image, self._roots)
        if self.missing:
            self.problems = (told_missing(self.missing, len(rows), examples, self._roots),)
        return kept

    def _decode(self, source: Path | bytes, index: int) -> Image.Image:
        try:
            return decode_image(source)
        except ImageError as error:
            raise ImageError(f"{self.name}, row {index}: {error}") from None


def open_table(path: Path, columns: Columns, images: Sequence[Path] = ()) -> Table:
    """Open a .parquet or .jsonl file, or a folder of pictures.

    A folder holds sub-folders named after classes, or a metadata.jsonl / metadata.csv with a
    `file_name` column, as `datasets` defines an image folder. All of it is read: of a folder with
    the parts train and test, name the part that is meant.

    Raises:
        DataError: if it is missing, of another kind, unreadable, or has no pictures.
    """
    datasets = quiet_datasets(path)
    if not path.exists():
        raise DataError(f"no data {str(path)!r}: neither a file, a folder nor `scenes`")
    kind, files = _kind(path)
    try:
        rows = datasets.load_dataset(kind, data_files={"train": files}, split="train")
    except Exception as error:
        # `datasets` wraps what went wrong in exceptions of its own, many deep.
        cause = error.__cause__ or error
        hint = "; does it hold pictures?" if path.is_dir() else ""
        raise DataError(f"{path} cannot be read as {kind}: {cause}{hint}") from error
    root = path if path.is_dir() else path.parent
    return Table(table_name(path), rows, root, columns, images=images)


def quiet_datasets(data: str | Path) -> Any:
    """The `datasets` library, told to leave messages to us.

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
    """What reports call a file or folder."""
    whole = path.absolute()
    return f"{whole.parent.name}/{whole.stem}" if path.is_file() else whole.name


def _kind(path: Path) -> tuple[str, str]:
    """Which reader of `datasets` takes it, and a pattern for its files."""
    literal = glob.escape(str(path))
    if path.is_dir():
        # Without a pattern `datasets` takes a picture or class called "test" for another split.
        return "imagefolder", f"{literal}/**"
    kinds = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}
    if path.suffix not in kinds:
        raise DataError(
            f"{path} is not data longclip reads: a .parquet or .jsonl file, or a folder of pictures"
        )
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; write or copy it again")
    return kinds[path.suffix], literal


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
    """One text or a list of them, without what is empty or no text."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(text for text in values if isinstance(text, str) and text.strip())
