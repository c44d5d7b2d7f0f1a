"""From what a user names to a source, and from a `uri` back to its image."""

import glob
import os
from functools import lru_cache
from pathlib import Path

from longclip.data import ShardCache
from longclip.data.hub import is_hub_name, is_saved
from longclip.data.open import SCENES
from longclip.data.shard_list import expand_braces, find_shards, is_shards
from longclip.data.shard_list import is_remote as is_web_address
from longclip.errors import DataError, SearchError
from longclip.search.sources.folders import SUFFIXES, FileSource, FolderSource, JoinedSource
from longclip.search.sources.image_source import PART, SHARDS, ImageSource, Item, is_url
from longclip.search.sources.storage_source import (
    RemotePattern,
    RemoteSource,
    matching,
    read_url,
    stamp_of,
)
from longclip.search.sources.table_source import CollectionSource, LinesSource, ParquetSource
from longclip.search.sources.tar_source import TarSource, read_at, tar_members

_WILD = frozenset("*?[")


def open_image_source(place: str | Path, *, without: str | Path | None = None) -> ImageSource:
    """Open a place with images.

    Args:
        place: one of
            an image file; a folder, with all folders in it;
            a .tar file, `part-{000..099}.tar`, a folder of nothing but tar files;
            a .parquet or .jsonl file;
            a pattern of paths with `*`, `**` and `?`, which may match any of these;
            a URL that fsspec knows (`s3://bucket/photos`), of a folder or one such file;
            `scenes/test` and whatever else `longclip.data.open_collection` takes.
        without: a folder that is left out of others, such as the database itself.

    Raises:
        SearchError: where there is no such place.
    """
    name = str(place)
    is_scenes = name.partition("/")[0] == SCENES and isinstance(place, str)
    if is_scenes and os.path.isdir(name):
        raise SearchError(
            f"{name} is a folder here, and also the name of drawings that longclip makes: write "
            f"./{name} for the folder, or ask for the drawings from another directory"
        )
    if is_scenes or (os.path.isdir(name) and is_saved(Path(name))):
        return CollectionSource(name if is_scenes else os.path.abspath(name))
    if is_web_address(name):
        raise SearchError(f"{name}: pages of the web are not fetched; download it first")
    if is_url(name):
        return _open_url(name)
    if os.path.isdir(name):
        return _open_folder(name, without)
    if os.path.isfile(name):
        return _open_file(name) or FileSource(name)
    if is_shards(name) and "{" in name:
        return _joined_shards(name)
    if _WILD & set(name):
        return _matching(name, without)
    if is_hub_name(name) and not Path(name).suffix:
        return CollectionSource(name)
    raise SearchError(
        f"{name}: there is no such file or folder; check the path, and whether its disk is there"
    )


def read_original(uri: str) -> bytes:
    """The image file of a row, from where it was indexed.

    Raises:
        OSError, ValueError: where it is gone or cannot be read.
    """
    container, part, member = uri.rpartition(PART)
    if is_url(uri) and not (part and container.endswith(SHARDS)):
        return read_url(uri)
    if not part or os.path.isfile(uri):
        return Path(uri).read_bytes()
    if container.endswith(".tar"):
        found = tar_members(container)[0].get(member)
        if found is None:
            raise FileNotFoundError(f"{container} has no {member} any more")
        return read_at(container, found.offset, found.size)
    if not member.isdecimal():
        raise FileNotFoundError(f"{uri} is no place that longclip has indexed")
    is_file = is_url(container) or os.path.isfile(container)
    rows = _rows_of(container, stamp_of(container) if is_file else "")
    try:
        return rows.read(Item(uri, None, 0, int(member)))
    except IndexError:
        raise FileNotFoundError(f"{container} has no row {member} any more") from None


@lru_cache(maxsize=8)
def _rows_of(container: str, stamp: str) -> ParquetSource | CollectionSource:
    """Keyed by the stamp as well: a file that has changed is opened again."""
    is_parquet = container.endswith(".parquet")
    return ParquetSource(container) if is_parquet else CollectionSource(container)


def _open_url(url: str) -> ImageSource:
    """One file, many by a pattern, or all images below."""
    names = expand_braces(url) if is_shards(url) else [url]
    if names == [url] and not _WILD & set(url):
        return _open_file(url) or RemoteSource(url)
    parts = [
        part
        for name in names
        for part in (
            _matching_urls(name) if _WILD & set(name) else [_open_file(name) or RemoteSource(name)]
        )
    ]
    if not parts:
        raise SearchError(f"{url} matches nothing; check the pattern, and put it in quotes")
    return JoinedSource(url, parts)


def _matching_urls(pattern: str) -> list[ImageSource]:
    parts: list[ImageSource] = []
    has_images = False
    for url, is_folder in matching(pattern).items():
        part = None if is_folder else _open_file(url)
        if is_folder and "**" not in pattern:
            parts.append(RemoteSource(url))
        elif part is not None:
            parts.append(part)
        elif not is_folder:
            has_images |= os.path.splitext(url)[1].lower() in SUFFIXES
    return [RemotePattern(pattern), *parts] if has_images else parts


def _open_file(name: str) -> ImageSource | None:
    """A file that holds many images; None where it is anything else."""
    if name.endswith(".tar"):
        return TarSource(name)
    if name.endswith(".parquet"):
        return ParquetSource(name)
    if name.endswith(".jsonl") and not is_url(name):
        return LinesSource(name)
    if name.endswith((".json", ".toml")) and not is_url(name):
        return CollectionSource(os.path.abspath(name))
    return None


def _open_folder(name: str, without: str | Path | None) -> ImageSource:
    return _joined_shards(name) if is_shards(name) else FolderSource(name, without)


def _joined_shards(name: str) -> ImageSource:
    try:
        shards = find_shards(name, ShardCache())
    except DataError as error:
        raise SearchError(str(error)) from None
    return JoinedSource(os.path.abspath(name), [TarSource(shard.place) for shard in shards])


def _matching(pattern: str, without: str | Path | None) -> ImageSource:
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise SearchError(f"{pattern} matches nothing; check the pattern, and put it in quotes")
    parts: list[ImageSource] = []
    for path in found:
        if os.path.isdir(path):
            # What `**` matches below a folder is in that folder already.
            if "**" not in pattern:
                folder = _open_folder(path, without)
                # Never one in another: the engine looks for shards among the parts.
                parts += folder.parts if isinstance(folder, JoinedSource) else [folder]
        elif Path(path).suffix.lower() in SUFFIXES:
            parts.append(FileSource(path))
        elif path.endswith((*SHARDS, ".jsonl")):
            parts.append(open_image_source(Path(path)))
    return JoinedSource(os.path.abspath(pattern), parts)
