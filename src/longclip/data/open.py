"""Opening of data by name or path as a Collection."""

from collections.abc import Sequence
from pathlib import Path

from longclip.data.collection import Collection
from longclip.data.layouts.descriptions import open_conversations
from longclip.data.mixture import Mixture, MixtureSource, read_mixture
from longclip.data.names import SCENES, Kind, kind_of, names_shards, scenes_split
from longclip.data.scenes import ScenesCollection
from longclip.data.tables.columns import Columns
from longclip.data.tables.folder import open_folder
from longclip.data.tables.open import open_hub, open_saved, open_table
from longclip.data.tar.shard_cache import ShardCache
from longclip.errors import DataError


def open_collection(
    data: str | Path,
    *,
    split: str = "train",
    columns: Columns | None = None,
    images: Sequence[str | Path] = (),
    cache: ShardCache | None = None,
    texts_only: bool = False,
) -> Collection:
    """Open data by name or path.

    Args:
        data: one of
            `scenes` or `scenes/SPLIT` (a folder called scenes is reached as `./scenes` or as a
            `Path`);
            a .csv, .tsv, .jsonl or .parquet file, a folder of pictures, or one that `datasets` has
            saved; a JSON list, of rows like those of a .jsonl file or as ShareGPT4V is published;
            tar shards (WebDataset): a .tar file, `part-{000..099}.tar`, a pattern, a folder of
            them, an index of them, or any of these at a URL (`https://`, or what fsspec knows:
            `s3://`, `gs://` …; on the web no pattern and no folder);
            a .toml file with a mixture of all these (see `longclip.data.mixture`);
            `owner/name` or `owner/name:split` on the Hugging Face hub, where there is no such path.
        split: of the scenes and of ShareGPT4V's published file, where `data` does not say.
        columns: which columns mean what.
        images: folders that paths of pictures start from, tried in this order and then where the
            file is; rows whose picture is in none of them are left out and counted.
        cache: where shards from elsewhere are kept.
        texts_only: leave out the rows of tables and samples of tar files that have no text, where
            any has one; they are counted.

    Raises:
        DataError: if there is no such data or it cannot be read.
    """
    kind = kind_of(data)
    if kind is Kind.SCENES:
        return ScenesCollection(scenes_split(str(data), split))
    path, columns, roots = Path(data), columns or Columns(), [Path(root) for root in images]
    missing = [str(root) for root in roots if not root.is_dir()]
    if missing:
        raise DataError(f"there is no folder of pictures {', '.join(missing)}; check the path")
    if kind is Kind.MIXTURE:
        return _mixed(read_mixture(path), columns, roots, cache, texts_only=texts_only)
    if names_shards(data):
        from longclip.data.tar.shards import open_shards  # loads the tokenizer

        return open_shards(str(data), columns, cache, texts_only=texts_only)
    if kind is Kind.CONVERSATIONS:
        return open_conversations(path, columns, roots, split=split, texts_only=texts_only)
    if kind is Kind.SAVED:
        return open_saved(path, columns, roots, texts_only=texts_only)
    if kind is Kind.HUB:
        return open_hub(str(data), columns, roots, texts_only=texts_only)
    if path.is_dir():
        return open_folder(path, columns, roots, texts_only=texts_only)
    return open_table(path, columns, roots, texts_only=texts_only)


def open_training_data(
    data: Sequence[str | Path],
    *,
    columns: Columns | None = None,
    images: Sequence[str | Path] = (),
    cache: ShardCache | None = None,
) -> Mixture:
    """Open what is to be trained on: one mixture file, or any other data one after the other.

    Args:
        data: as for `open_collection`.
        columns: which columns mean what, where a source does not say.
        images: folders to look for pictures in, after those that a source names.
        cache: where shards from elsewhere are kept.

    Raises:
        DataError: if any of it cannot be opened or has no texts, or a mixture file is not the only
            one.
    """
    names = list(data)
    if not names:
        raise DataError("no data are named; name a file, a folder or `scenes`")
    if len(names) == 1 and kind_of(names[0]) is Kind.MIXTURE:
        sources = read_mixture(Path(names[0]))
    else:
        sources = [MixtureSource(name) for name in names]
    roots = [Path(root) for root in images]
    return _mixed(sources, columns or Columns(), roots, cache, texts_only=True, required=True)


def open_for_evaluation(
    data: str | Path, *, columns: Columns | None = None, images: Sequence[str | Path] = ()
) -> list[Collection]:
    """Open data as `open_collection` does; `scenes` alone means both of its test splits."""
    if data == SCENES:
        return [ScenesCollection("test"), ScenesCollection("test-short")]
    return [open_collection(data, split="test", columns=columns, images=images, texts_only=True)]


def _mixed(
    sources: Sequence[MixtureSource],
    columns: Columns,
    images: Sequence[Path],
    cache: ShardCache | None,
    *,
    texts_only: bool,
    required: bool = False,
) -> Mixture:
    for source in sources:
        if kind_of(source.data) is Kind.MIXTURE:
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
            texts_only=texts_only,
        )
        for source in sources
    ]
    for part in opened:
        if required:
            part.require_texts()
    return Mixture(sources, opened)
