"""ShareGPT4V and other JSON lists of {id, image, conversations}."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from longclip.data.json_files import json_rows
from longclip.data.table import Columns, Table
from longclip.data.table_files import quiet_datasets, table_name
from longclip.errors import DataError

SHAREGPT4V = "share-captioner_coco_lcs_sam_1246k_1107.json"
"""Name of the published file."""

HELD_OUT = 1000
"""The first rows of the published file are its test, ShareGPT4V-1k."""


def open_conversations(path: Path, *, split: str, images: Sequence[Path] = ()) -> Table:
    """Open a JSON list of conversations for training on all of it; see `picture_and_text`.

    The list is copied once into a table on disk, in the cache of `datasets`, so 1.2 million rows
    take little memory. Rows whose picture is in none of `images`, nor in a `picture_folders`, are
    left out and counted.

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
            _rows,
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
    columns = Columns(image="image", long="long")
    beside, inside = picture_folders(path)
    return Table(table_name(path), rows, beside, columns, images=(*images, beside, inside))


def picture_and_text(row: Any) -> tuple[str | None, str | None]:
    """Return the path of a row's picture and its long text, which is the second turn.

    Line breaks become spaces, as in the published loader. None stands for what is not there: some
    collections have conversations about no picture.
    """
    fields = row if isinstance(row, dict) else {}
    name, turns = fields.get("image"), fields.get("conversations")
    turn = turns[1] if isinstance(turns, list) and len(turns) > 1 else None
    text = turn.get("value") if isinstance(turn, dict) else None
    return (
        name if isinstance(name, str) else None,
        None if text is None else str(text).replace("\n", " "),
    )


def picture_folders(path: Path) -> tuple[Path, Path]:
    """Return the folders that paths of pictures start from: beside the file, and `data` there."""
    return path.parent, path.parent / "data"


def _rows(path: str, about: tuple[int, int]) -> Iterator[dict[str, str | None]]:
    for row in json_rows(Path(path)):
        name, text = picture_and_text(row)
        yield {"image": name, "long": text or ""}
