"""Kinds of names of data and images that a user may give, the same for all packages."""

import glob
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from longclip.data.json_files import json_rows
from longclip.data.storage import WILDCARDS, is_url, is_web
from longclip.data.text_files import decode_text
from longclip.errors import DataError, UsageError

SCENES = "scenes"
SCENE_SPLITS = (
    "train",
    "train-groups",
    "val",
    "val-short",
    "test",
    "test-short",
    "train-groups-longest",
    "val-longest",
    "test-longest",
)

ACCEPTED = (
    "a .csv, .tsv, .jsonl or .parquet file, or a JSON list of rows or conversations; a folder of "
    "pictures, or one that `datasets` has saved; tar shards: a .tar file, 'part-{000..099}.tar', a "
    "pattern, a folder of them, a URL, or their index; a .toml mixture of all these; scenes/SPLIT; "
    "owner/name on the Hugging Face hub"
)
"""The forms that training, evaluation and search accept, for messages."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Image files of published data sets."""

SEARCHED_SUFFIXES = IMAGE_SUFFIXES | {
    *(".jfif", ".jpe", ".jp2", ".avif", ".heic", ".heif", ".ppm", ".pgm")
}
"""Files that search takes for images; what cannot be decoded is then listed as broken."""

TEXT_SUFFIXES = (".txt", ".caption", ".json")
"""Files beside a picture with its texts, in lower or upper case; the first kind counts most."""

TABLE_SUFFIXES = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
"""Files with a row for each picture or text."""

TAR_SUFFIXES = (".tar", ".tgz", ".tbz2", ".txz", *(f".tar.{x}" for x in ("gz", "bz2", "xz", "zst")))
"""Tar files, also compressed ones, whose reader says what to do with them."""

_DATA_SUFFIXES = (*TABLE_SUFFIXES, *TAR_SUFFIXES, ".gz", ".zip", ".toml")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(:[\w.\[\]:%-]+)?")
MAX_SHARDS_IN_BRACES = 1_000_000
_MAX_DIGITS = 100
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")

_MAX_INDEX_START = 1 << 20
"""Bytes of a JSON file among which an index has its `shardlist`."""


class Kind(Enum):
    """A kind of name, in the order in which they are tried."""

    SCENES = "scenes or scenes/SPLIT"
    WEB = "an address http:// or https://"
    STORAGE = "any other URL"
    SAVED = "a folder that `datasets` has saved"
    SHARD_FOLDER = "a folder of tar files and nothing but what may lie beside them"
    FOLDER = "any other folder"
    MIXTURE = "a .toml file"
    TAR = "a .tar file, also a compressed one"
    SHARD_INDEX = "a JSON file with a `shardlist`"
    CONVERSATIONS = "a JSON list of conversations"
    TABLE = "a .parquet, .csv, .tsv, .jsonl or other .json file"
    FILE = "any other file"
    SHARDS = "no path here: names of tar files in braces"
    HUB = "no path here: owner/name or owner/name:split"
    PATTERN = "no path here: a pattern of paths"
    MISSING = "nothing that is there"


_SHARD_KINDS = frozenset(
    {Kind.WEB, Kind.STORAGE, Kind.TAR, Kind.SHARDS, Kind.SHARD_FOLDER, Kind.SHARD_INDEX}
)


def kind_of(name: str | Path) -> Kind:
    """Return what a user means by a name; a `Path` is never scenes nor on the hub.

    Raises:
        DataError: if the name is empty, or that of a pipe or a device, which can be read only once.
    """
    text, path = str(name), Path(name)
    if not text:  # a Path would make the working directory of it
        raise DataError("the name of data is empty; name a file, a folder or `scenes`")
    if isinstance(name, str) and text.partition("/")[0] == SCENES:
        return Kind.SCENES
    if is_url(text):
        return Kind.WEB if is_web(text) else Kind.STORAGE
    if path.is_dir():
        if is_saved(path):
            return Kind.SAVED
        names: list[str] = []
        with suppress(OSError):  # its reader says so
            names = [path.name for path in path.iterdir() if not path.name.startswith(".")]
        others = [name for name in names if not is_tar_name(name)]
        only_tars = len(others) < len(names) and all(
            name.lower().endswith((".json", ".txt", ".md")) for name in others
        )
        return Kind.SHARD_FOLDER if only_tars else Kind.FOLDER
    if path.exists() and not path.is_file():
        what = "a pipe" if path.is_fifo() else "a device or a socket"
        raise DataError(
            f"{text} is {what}, which is not read: data are read more than once, at any place. "
            "Write it into a file first, and name that"
        )
    if path.suffix == ".toml":  # also where it is not there: it can be nothing else
        return Kind.MIXTURE
    if path.is_file():
        if path.suffix.lower() == ".json":
            return _kind_of_json(path)
        if path.suffix.lower() in TABLE_SUFFIXES:
            return Kind.TABLE
        return Kind.TAR if is_tar_name(text) else Kind.FILE
    if text.endswith(".tar") and "{" in text:
        return Kind.SHARDS
    is_pattern = bool(WILDCARDS & set(text))
    # `owner/name:train[:10%]` looks like a pattern; it is one where it matches something.
    may_be_hub = isinstance(name, str) and not (is_pattern and glob.glob(text))
    is_file_name = text.lower().endswith((*_DATA_SUFFIXES, *SEARCHED_SUFFIXES))
    if may_be_hub and not is_file_name and _HUB_NAME.fullmatch(text):
        return Kind.HUB
    return Kind.PATTERN if is_pattern else Kind.MISSING


def scenes_split(name: str, default: str = "train") -> str:
    """Return the split that `scenes/SPLIT` names.

    Raises:
        DataError: if there is no such split.
    """
    split = name.partition("/")[2] or default
    if split not in SCENE_SPLITS:
        raise DataError(f"scenes has no split {split!r}, only {', '.join(SCENE_SPLITS)}")
    return split


def names_shards(name: str | Path) -> bool:
    """Return whether a name is that of tar shards, for whose reader what is not there is, too."""
    kind = kind_of(name)
    absent = kind in (Kind.PATTERN, Kind.MISSING)
    return kind in _SHARD_KINDS or (absent and Path(name).suffix == ".tar")


def reads(role: str, name: str | Path) -> bool:
    """Return whether data heed folders of pictures (`images`) or a field of `Columns`."""
    if kind_of(name) is Kind.SCENES:
        return False
    return role in ("short", "long") or not names_shards(name)


def refuse_unread(options: Mapping[str, str], names: Sequence[str | Path]) -> None:
    """Refuse options on folders of pictures and on columns that none of the data reads.

    Args:
        options: those that are given, as the user writes them, by what they name: `images` or a
            field of `Columns`.
        names: all data; published benchmarks, which are read as they are, are left out.

    Raises:
        UsageError: naming the option and the data.
    """
    for role, option in options.items():
        if not any(reads(role, name) for name in names):
            what = ", ".join(map(str, names)) or "benchmarks"
            raise UsageError(f"{option} is for tables and folders; {what} would not read it")


def is_tar_name(name: str) -> bool:
    """Return whether a file of this name is taken for a tar file."""
    return name.lower().endswith(TAR_SUFFIXES)


def expand_braces(text: str) -> list[str]:
    """Expand `a{08..10}{x,y}` to a08x, a08y, a09x …; numbers keep their width, as in a shell."""
    names, end = [""], 0
    for match in _BRACES.finditer(text):
        bounds = _RANGE.fullmatch(match[1])
        if bounds:
            first, last = bounds.groups()
            # Python reads no numbers of thousands of digits.
            is_number = max(len(first), len(last)) <= _MAX_DIGITS
            if not (is_number and 0 <= int(last) - int(first) < MAX_SHARDS_IN_BRACES):
                raise DataError(f"{text!r}: {{{match[1]}}} is no range of numbers that go up")
            choices = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
        else:
            choices = match[1].split(",")
        if len(names) * len(choices) > MAX_SHARDS_IN_BRACES:
            raise DataError(
                f"{text!r} stands for more than {MAX_SHARDS_IN_BRACES:,} names; correct the "
                "numbers in braces, or name the folder"
            )
        before = text[end : match.start()]
        names = [name + before + choice for name in names for choice in choices]
        end = match.end()
    return [name + text[end:] for name in names]


def is_saved(path: Path) -> bool:
    """Return whether `save_to_disk` has written this folder, or one with parts (train, test …)."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def _kind_of_json(path: Path) -> Kind:
    """Return the kind of a .json file by its beginning, as it may have gigabytes."""
    with path.open("rb") as file:
        start = decode_text(file.read(_MAX_INDEX_START)).lstrip()
    if start.startswith("{") and '"shardlist"' in start:
        return Kind.SHARD_INDEX
    if start.startswith("["):
        try:
            first = next(json_rows(path), None)
        except DataError:  # their reader says where it is damaged
            return Kind.CONVERSATIONS
        if isinstance(first, dict) and "conversations" in first:
            return Kind.CONVERSATIONS
    return Kind.TABLE
