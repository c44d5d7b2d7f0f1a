"""Tables of the `datasets` library: saved in a folder, or on the Hugging Face hub."""

import re
from collections.abc import Sequence
from pathlib import Path

from longclip.data.table import Columns, Table, quiet_datasets
from longclip.errors import DataError

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(:[\w.\[\]%-]+)?")


def is_hub_name(data: str) -> bool:
    """Whether `data` may be `owner/name` or `owner/name:split` on the hub."""
    return _HUB_NAME.fullmatch(data) is not None


def is_saved(path: Path) -> bool:
    """Whether `save_to_disk` has written this folder, or one with parts (train, test, …)."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def open_saved(path: Path, columns: Columns, images: Sequence[Path] = ()) -> Table:
    """A folder that `save_to_disk` has written; read from there, not copied.

    Raises:
        DataError: if it is damaged, or holds several parts.
    """
    datasets = quiet_datasets(path)
    if (path / "dataset_dict.json").is_file():
        parts = sorted(folder.name for folder in path.iterdir() if is_saved(folder))
        raise DataError(
            f"{path} holds several parts; name the one you mean: " + _any_of(path, parts)
        )
    try:
        rows = datasets.load_from_disk(str(path))
    except Exception as error:
        raise DataError(f"{path} cannot be read ({error}); save or copy it again") from error
    return Table(path.absolute().name, rows, path, columns, images=images)


def open_hub(data: str, columns: Columns, images: Sequence[Path] = ()) -> Table:
    """`owner/name`, which is its split train, or `owner/name:split`.

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
    said = f"{type(error).__name__} {error}".lower()
    reason = f"{data} is no path here and could not be had from the Hugging Face hub"
    if "gated" in said or "401" in said or "403" in said:
        return (
            f"{reason}: it is gated or private; ask for access on its page, then log in with "
            "`hf auth login`"
        )
    if isinstance(error, OSError) and any(
        word in said for word in ("connect", "offline", "resolve", "timed out", "timeout", "reach")
    ):
        return f"{reason}: no connection ({_short(error)}); check the path or the network"
    return f"{reason}: {_short(error)}; check the name"


def _short(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())[:300]


def _any_of(path: Path, parts: Sequence[str]) -> str:
    return ", ".join(str(path / part) for part in parts)
