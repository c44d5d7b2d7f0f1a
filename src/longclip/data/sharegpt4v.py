"""ShareGPT4V and other JSON lists of {id, image, conversations}, for training on all of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from longclip.data.layouts.descriptions import SHAREGPT4V, json_rows
from longclip.data.table import Columns, Table, quiet_datasets, table_name
from longclip.errors import DataError

HELD_OUT = 1000
"""The first rows of the published file are its test, ShareGPT4V-1k."""


def open_conversations(path: Path, *, split: str, images: Sequence[Path] = ()) -> Table:
    """A JSON list whose rows have a picture and a conversation; the second turn is the long text.

    Line breaks become spaces, as in the published loader. The list is copied once into a table on
    disk, in the cache of `datasets`, so 1.2 million rows take little memory. Rows whose picture is
    in none of `images`, nor beside the file or in `data` beside it, are left out and counted.

    Args:
        path: of the published file, or another such list.
        split: of the published file, `test` for its first 1,000 rows, else the others; of another
            list all rows are used.
        images: folders that the paths in the rows start from.

    Raises:
        DataError: if it is no such list.
    """
    datasets = quiet_datasets(path)
    about = path.stat()
    strings = {"image": datasets.Value("string"), "long": datasets.Value("string")}
    try:
        rows = datasets.Dataset.from_generator(
            _pairs,
            features=datasets.Features(strings),
            # Time and size, so that what changes on disk is read again.
            gen_kwargs={"path": str(path), "about": (about.st_size, about.st_mtime_ns)},
        )
    except Exception as error:
        # `datasets` wraps what went wrong in exceptions of its own.
        cause = error.__cause__ or error
        if isinstance(cause, DataError):
            raise cause from None
        raise DataError(f"{path} cannot be read: {cause}") from error
    if path.name == SHAREGPT4V:
        part = range(HELD_OUT) if split == "test" else range(HELD_OUT, len(rows))
        rows = rows.select(part[: len(rows)])
    root = path.parent
    columns = Columns(image="image", long="long")
    return Table(table_name(path), rows, root, columns, images=(*images, root, root / "data"))


def _pairs(path: str, about: tuple[int, int]) -> Iterator[dict[str, str | None]]:
    for row in json_rows(Path(path)):
        yield {"image": _image(row), "long": _answer(row).replace("\n", " ")}


def _image(row: Any) -> str | None:
    """None where a row is a conversation about no picture, as some collections have them."""
    name = row.get("image") if isinstance(row, dict) else None
    return name if isinstance(name, str) else None


def _answer(row: Any) -> str:
    turns = row.get("conversations") if isinstance(row, dict) else None
    turn = turns[1] if isinstance(turns, list) and len(turns) > 1 else None
    return str(turn.get("value", "")) if isinstance(turn, dict) else ""
