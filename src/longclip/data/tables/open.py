"""Opening of tables: Parquet, CSV, JSON, what `datasets` has saved, and the hub's."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longclip.data.names import ACCEPTED, TABLE_SUFFIXES, is_saved
from longclip.data.tables.columns import Columns
from longclip.data.tables.rows import read_table
from longclip.data.tables.table import Table
from longclip.errors import DataError

_REMEDIES = {
    **dict.fromkeys((".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip"), "packed; unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as CSV"),
    ".txt": "a text file; call it .csv if its first line names columns",
}
"""What is to be done about files of other kinds, by their suffix."""


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
    if (suffix := path.suffix.lower()) not in TABLE_SUFFIXES:
        raise DataError(f"{path} is {what_else(path)}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; write or copy it again")
    rows = load_parquet([path]) if suffix == ".parquet" else open_rows(path)
    return Table(table_name(path), rows, path.parent, columns, images=images, texts_only=texts_only)


def what_else(path: Path) -> str:
    """Return what a file is that is not read, and what is to be done about it."""
    return _REMEDIES.get(path.suffix.lower(), f"not data longclip reads: {ACCEPTED}")


def open_rows(path: Path) -> Any:
    """Return the table of a file that `longclip.data.tables.rows` reads.

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
