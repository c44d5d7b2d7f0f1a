"""Folders of pictures: with a table, with a text beside each picture, or sorted into classes."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from longclip.data.file_tree import walk
from longclip.data.json_files import parse_json
from longclip.data.layouts.file_collection import count_of
from longclip.data.names import SEARCHED_SUFFIXES, TABLE_SUFFIXES, TEXT_SUFFIXES
from longclip.data.tables.columns import Columns, strings, usual_column
from longclip.data.tables.open import quiet_datasets, table_name
from longclip.data.tables.picture_values import spellings
from longclip.data.tables.rows import Row, as_row, read_rows, read_table, to_table
from longclip.data.tables.table import Table
from longclip.data.text_files import read_text
from longclip.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

METADATA = "metadata"
"""Name, without suffix, of a table of the pictures in its folder and those below."""

_READERS = 16


class _Files(NamedTuple):
    """Files below a folder, as paths from there, each list in order.

    Attributes:
        pictures: by their suffix.
        tables: that describe pictures.
        texts: that may lie beside a picture.
        others: how many there are of each suffix.
        left_out: what is no file: links that lead nowhere, pipes, devices.
    """

    pictures: list[str]
    tables: list[str]
    texts: list[str]
    others: "Counter[str]"
    left_out: list[str]


def open_folder(
    path: Path, columns: Columns, images: Sequence[Path] = (), *, texts_only: bool = False
) -> Table:
    """Open a folder with all folders in it; what is hidden is left out.

    A table `metadata.csv`, `.tsv`, `.jsonl` or `.parquet` names pictures by their paths from where
    it lies. Without one, the texts are those of files beside the pictures (`a.txt` beside `a.jpg`).
    Without those, pictures have the names of their folders as labels, if these are several, all at
    the same depth.

    Raises:
        DataError: if there are no pictures, or a table cannot be read.
    """
    datasets = quiet_datasets(path)
    files = _list_files(path)
    if not files.pictures and not files.tables:
        files.others.update(os.path.splitext(text)[1] for text in files.texts)
        held = ", ".join(f"{number:,} {suffix}" for suffix, number in files.others.most_common(3))
        raise DataError(f"{path} holds no pictures" + (f" but {held}; name a file" if held else ""))
    stems = {os.path.splitext(picture)[0] for picture in files.pictures}
    problems: list[str] = []
    unnamed: list[str] = []
    if files.tables:
        table, unnamed = _described_pictures(path, files, columns)
        problems = count_of(unnamed, "picture has no row", "pictures have no row")
        # Rows without their picture are then found and left out.
        images = (*images, path)
    elif stems.intersection(os.path.splitext(text)[0] for text in files.texts):
        rows, unreadable = _pictures_with_texts(path, files, columns)
        alone = [text for text in files.texts if os.path.splitext(text)[0] not in stems]
        problems = [
            *count_of(unreadable, "text cannot be read", "texts cannot be read"),
            *count_of(alone, "text is beside no picture", "texts are beside no picture"),
        ]
        table = to_table(iter(rows), path)
        columns = Columns(
            image="image",
            short="short" if columns.short else None,
            long="long" if columns.long else None,
        )
    else:
        table = to_table(_labelled_pictures(files.pictures), path)
    datasets_rows = datasets.Dataset(datasets.table.InMemoryTable(table))
    collection = Table(
        table_name(path), datasets_rows, path, columns, images=images, texts_only=texts_only
    )
    if not files.tables:
        collection.texts_remedy = (
            "put a text beside each picture (a.txt beside a.jpg), or a table metadata.csv into it"
        )
    collection.missing += len(unnamed)
    problems += count_of(files.left_out, "is no file and left out", "are no files and left out")
    collection.problems = (*problems, *collection.problems)
    return collection


def _list_files(root: Path) -> _Files:
    """List the files of a folder and of those in it.

    Raises:
        DataError: if one of them cannot be read.
    """
    files = _Files([], [], [], Counter(), [])
    try:
        for folder in walk(root, lambda name: _list_for(files, name) is not None):
            for path, reason, is_link in folder.left_out:
                if not is_link:
                    raise DataError(f"{path} cannot be read: {reason}")
                files.left_out.append(f"{os.path.relpath(path, root)}: {reason}")
            inside = os.path.relpath(folder.path, root) if folder.path != str(root) else ""
            for file in folder.files:
                wanted = _list_for(files, file.name)
                assert wanted is not None
                wanted.append(os.path.join(inside, file.name))
            files.others.update(os.path.splitext(name)[1].lower() or name for name in folder.others)
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror or error}") from None
    for found in (files.pictures, files.tables, files.texts, files.left_out):
        found.sort()
    return files


def _list_for(files: _Files, name: str) -> list[str] | None:
    """Return the list that a file of this name belongs to; None for any other file."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in SEARCHED_SUFFIXES:
        return files.pictures
    if stem.lower() == METADATA and suffix.lower() in TABLE_SUFFIXES and suffix.lower() != ".json":
        return files.tables
    return files.texts if suffix.lower() in TEXT_SUFFIXES else None


def _described_pictures(
    root: Path, files: _Files, columns: Columns
) -> tuple["pa.Table", list[str]]:
    """Return the rows of the tables, with paths of pictures from `root`, and the pictures in none.

    Raises:
        DataError: if there are several in one folder, or one cannot be read.
    """
    of_folder = Counter(map(os.path.dirname, files.tables))
    first, *others = files.tables
    if max(of_folder.values()) > 1 or (others and ".parquet" in "".join(files.tables).lower()):
        raise DataError(f"{root} holds {', '.join(files.tables)}; keep one of them, or name it")
    if first.lower() == METADATA + ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(root / first)
    elif first.lower().endswith(".parquet"):
        raise DataError(f"{root} holds no table but {first}; name that, or the folder it is in")
    elif others or os.path.dirname(first):
        rows = (row for name in files.tables for row in _moved_rows(root, name, columns))
        table = to_table(rows, root)
    else:
        table = read_table(root / first)
    image = columns.image or usual_column("image", table.column_names)
    named = set[str]()
    if image in table.column_names:
        paths = (path for path in table[image].to_pylist() if isinstance(path, str))
        named = {os.path.normpath(name) for path in paths for name in spellings(path)}
    return table, [
        picture
        for picture in files.pictures
        if picture not in named and os.path.join(root, picture) not in named
    ]


def _moved_rows(root: Path, name: str, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a table in a folder below, with the paths of pictures from `root`."""
    for row in read_rows(root / name):
        image = columns.image or usual_column("image", list(row)) or ""
        path = row.get(image)
        if isinstance(path, str) and path:
            row[image] = os.path.join(os.path.dirname(name), path)
        yield row


def _pictures_with_texts(
    root: Path, files: _Files, columns: Columns
) -> tuple[list[Row], list[str]]:
    """Return a row {image, short, long} for each picture, and the texts that cannot be read.

    As of a sample of a tar shard, texts are the whole of the .txt and the columns of the .json; one
    that is in both, as img2dataset writes them, counts once.
    """
    beside: dict[str, list[str]] = {}
    for text in files.texts:
        beside.setdefault(os.path.splitext(text)[0], []).append(text)
    unreadable: list[str] = []

    def read(picture: str) -> Row:
        texts: dict[str, dict[str, None]] = {"short": {}, "long": {}}
        for name in beside.get(os.path.splitext(picture)[0], ()):
            try:
                text = read_text(root / name)
                if not name.lower().endswith(".json"):
                    texts["short"][text.strip()] = None
                    continue
                row = as_row(parse_json(text, str(root / name)))
            except DataError:
                unreadable.append(name)
                continue
            for role, found in texts.items():
                column = getattr(columns, role) or usual_column(role, list(row)) or ""
                found |= dict.fromkeys(text.strip() for text in strings(row.get(column)))
        short = [text for text in texts["short"] if text not in texts["long"]]
        return {"image": picture, "short": [*short], "long": [*texts["long"]]}

    with ThreadPoolExecutor(_READERS) as threads:
        return list(threads.map(read, files.pictures)), sorted(unreadable)


def _labelled_pictures(pictures: Sequence[str]) -> Iterator[Row]:
    """Yield a row for each picture, with the name of its folder where that is a class."""
    folders = [os.path.dirname(picture) for picture in pictures]
    labels = [os.path.basename(folder) for folder in folders]
    depths = {picture.count(os.sep) for picture in pictures}
    are_classes = len(depths) == 1 and len(set(labels)) > 1
    for picture, label in zip(pictures, labels, strict=True):
        yield {"image": picture, "label": label} if are_classes else {"image": picture}
