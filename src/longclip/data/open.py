"""From what a user names as data to a Collection."""

from collections.abc import Sequence
from pathlib import Path

from longclip.data.collection import Collection
from longclip.data.hub import is_hub_name, is_saved, open_hub, open_saved
from longclip.data.layouts.descriptions import first_rows
from longclip.data.mixture import Mixture, MixtureSource, read_mixture
from longclip.data.scenes import ScenesCollection
from longclip.data.shard_cache import ShardCache
from longclip.data.shard_list import is_remote, is_shards
from longclip.data.table import Columns, open_table
from longclip.errors import DataError

SCENES = "scenes"
SCENE_SPLITS = (
    "train",
    "train-tags",
    "train-landmarks",
    "train-groups",
    "val",
    "val-short",
    "test",
    "test-short",
)
_MIXTURE = ".toml"
_FILES = (".parquet", ".jsonl", ".json", ".csv", ".tar", ".gz", ".zip", _MIXTURE)
_START = 1 << 20


def open_collection(
    data: str | Path,
    *,
    split: str = "train",
    columns: Columns | None = None,
    images: Sequence[str | Path] = (),
    cache: ShardCache | None = None,
) -> Collection:
    """Open data by name or path.

    Args:
        data: one of
            `scenes` or `scenes/SPLIT` (a folder called scenes is reached as `./scenes` or as a
            `Path`);
            a .parquet or .jsonl file, a folder of pictures, or one that `datasets` has saved;
            a JSON list, of rows like those of a .jsonl file or as ShareGPT4V is published;
            tar shards (WebDataset): a .tar file or address, `part-{000..099}.tar`, a pattern, a
            folder of them, or an index of them;
            a .toml file with a mixture of all these (see `longclip.data.mixture`);
            `owner/name` or `owner/name:split` on the Hugging Face hub, where there is no such path.
        split: of the scenes and of ShareGPT4V's published file, where `data` does not say.
        columns: which columns mean what.
        images: folders that paths of pictures start from, tried in this order and then where the
            file is; rows whose picture is in none of them are left out and counted.
        cache: where shards from elsewhere are kept.

    Raises:
        DataError: if there is no such data or it cannot be read.
    """
    name, _, named_split = str(data).partition("/")
    if name == SCENES and isinstance(data, str):
        split = named_split or split
        if split not in SCENE_SPLITS:
            raise DataError(f"scenes has no split {split!r}, only {', '.join(SCENE_SPLITS)}")
        return ScenesCollection(split)
    path, columns, roots = Path(data), columns or Columns(), [Path(root) for root in images]
    missing = [str(root) for root in roots if not root.is_dir()]
    if missing:
        raise DataError(f"there is no folder of pictures {', '.join(missing)}; check the path")
    if path.suffix == _MIXTURE:
        return _mixed(read_mixture(path), columns, roots, cache)
    if is_shards(str(data)) or _lists_shards(path):
        from longclip.data.shards import open_shards

        return open_shards(str(data), columns, cache)
    if _holds_conversations(path):
        from longclip.data.sharegpt4v import open_conversations

        return open_conversations(path, split=split, images=roots)
    if is_saved(path):
        return open_saved(path, columns, roots)
    if isinstance(data, str) and not path.exists() and _may_be_on_hub(data):
        return open_hub(data, columns, roots)
    return open_table(path, columns, roots)


def open_training_data(
    data: Sequence[str | Path],
    *,
    columns: Columns | None = None,
    images: Sequence[str | Path] = (),
    cache: ShardCache | None = None,
) -> Mixture:
    """What is to be trained on: one mixture file, or any other data one after the other.

    Args:
        data: as for `open_collection`.
        columns: which columns mean what, where a source does not say.
        images: folders to look for pictures in, after those that a source names.
        cache: where shards from elsewhere are kept.

    Raises:
        DataError: if any of it cannot be opened, or a mixture file is not the only one.
    """
    names = list(data)
    if len(names) == 1 and Path(names[0]).suffix == _MIXTURE:
        sources = read_mixture(Path(names[0]))
    else:
        sources = [MixtureSource(name) for name in names]
    return _mixed(sources, columns or Columns(), [Path(root) for root in images], cache)


def open_for_evaluation(data: str | Path, *, columns: Columns | None = None) -> list[Collection]:
    """As `open_collection`; `scenes` alone means both of its test splits."""
    if data == SCENES:
        return [ScenesCollection("test"), ScenesCollection("test-short")]
    return [open_collection(data, split="test", columns=columns)]


def _mixed(
    sources: Sequence[MixtureSource],
    columns: Columns,
    images: Sequence[Path],
    cache: ShardCache | None,
) -> Mixture:
    for source in sources:
        if Path(source.data).suffix == _MIXTURE:
            raise DataError(
                f"{source.data} is a mixture, which cannot be mixed again; name it alone and put "
                "the other data into it as [[source]]"
            )
    opened = [
        open_collection(
            source.data,
            columns=source.columns or columns,
            images=(*source.images, *images),
            cache=cache,
        )
        for source in sources
    ]
    return Mixture(sources, opened)


def _start(path: Path) -> str:
    """How a .json file begins; nothing for another one."""
    if path.suffix != ".json" or not path.is_file():
        return ""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(_START).lstrip()


def _holds_conversations(path: Path) -> bool:
    if not _start(path).startswith("["):
        return False
    rows = first_rows(path, 1)
    return bool(rows) and isinstance(rows[0], dict) and "conversations" in rows[0]


def _lists_shards(path: Path) -> bool:
    start = _start(path)
    return start.startswith("{") and '"shardlist"' in start


def _may_be_on_hub(data: str) -> bool:
    return not is_remote(data) and not data.endswith(_FILES) and is_hub_name(data)
