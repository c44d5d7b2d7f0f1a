"""Tables by path or name: Parquet, JSON lines, folders of pictures, saved ones, the hub's."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from longclip.data.names import ACCEPTED, is_saved
from longclip.data.table import Columns, Table
from longclip.errors import DataError


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
    """Return what reports call a file or folder."""
    whole = path.absolute()
    return f"{whole.parent.name}/{whole.stem}" if path.is_file() else whole.name


def _kind(path: Path) -> tuple[str, str]:
    """Return which reader of `datasets` takes it, and a pattern for its files."""
    literal = glob.escape(str(path))
    if path.is_dir():
        # Without a pattern `datasets` takes a picture or class called "test" for another split.
        return "imagefolder", f"{literal}/**"
    kinds = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}
    if path.suffix not in kinds:
        raise DataError(f"{path} is not data longclip reads: {ACCEPTED}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; write or copy it again")
    return kinds[path.suffix], literal


def open_saved(path: Path, columns: Columns, images: Sequence[Path] = ()) -> Table:
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
    return Table(path.absolute().name, rows, path, columns, images=images)


def open_hub(data: str, columns: Columns, images: Sequence[Path] = ()) -> Table:
    """Open `owner/name`, which means its split train, or `owner/name:split` of the hub.

    Raises:
        DataError: if there is none, it is not for everybody, or there is no network.
    """
    name, _, split = data.partition(":")
    datasets = quiet_datasets(name)
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:
        raise DataError(_why_not(data, error)) from error
    return Table(data, rows, Path(), columns, images=images)


def _why_not(data: str, error: Exception) -> str:
    text = f"{type(error).__name__} {error}".lower()
    reason = f"{data} is no path here and could not be had from the Hugging Face hub"
    if "gated" in text or "401" in text or "403" in text:
        return (
            f"{reason}: it is gated or private; ask for access on its page, then log in with "
            "`hf auth login`"
        )
    if isinstance(error, OSError) and any(
        word in text for word in ("connect", "offline", "resolve", "timed out", "timeout", "reach")
    ):
        return f"{reason}: no connection ({_short(error)}); check the path or the network"
    return f"{reason}: {_short(error)}; check the name"


def _short(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())[:300]
