"""Image sources by the name that a user gives, and images by the `uri` of a row."""

import glob
import os
from functools import lru_cache
from pathlib import Path

from longclip.data import ShardCache
from longclip.data.names import Kind, expand_braces, is_tar_name, kind_of
from longclip.data.storage import WILDCARDS, file_info, is_url, matching, read_url
from longclip.data.tar.shard_list import find_shards
from longclip.errors import SearchError
from longclip.search.sources.file_sources import (
    FileSource,
    FolderSource,
    JoinedSource,
    StoragePattern,
    StorageSource,
    read_file,
)
from longclip.search.sources.image_source import (
    LISTS,
    PART,
    SHARDS,
    ImageSource,
    Item,
    is_image_name,
    search_errors,
)
from longclip.search.sources.table_source import CollectionSource, ListSource, ParquetSource
from longclip.search.sources.tar_source import TarSource, read_image, tar_images
from longclip.util.unicode import unicode_forms

_COLLECTIONS = frozenset(
    {Kind.SAVED, Kind.MIXTURE, Kind.SHARD_INDEX, Kind.CONVERSATIONS, Kind.TABLE}
)


@search_errors()
def open_image_source(place: str | Path, *, without: str | Path | None = None) -> ImageSource:
    """Open a place with images.

    Args:
        place: one of
            an image file; a folder, with all folders in it;
            a .tar file, `part-{000..099}.tar`, a folder of nothing but tar files;
            a .parquet, .csv, .tsv, .jsonl or .json file with a row for each image;
            a pattern of paths with `*`, `**` and `?`, which may match any of these;
            a URL that fsspec knows (`s3://bucket/photos`), of a folder or one such file;
            `scenes/test` and whatever else `longclip.data.open_collection` takes.
        without: a folder that is left out of others, such as the database itself.

    Raises:
        SearchError: if there is no such place.
    """
    name, kind = str(place), kind_of(place)
    if kind is Kind.MISSING:
        # The disk may have composed the letters of a name, or not.
        found = next(filter(os.path.exists, unicode_forms(name)), None)
        name, kind = (name, kind) if found is None else (found, kind_of(found))
    if kind is Kind.SCENES and os.path.isdir(name):
        raise SearchError(
            f"{name} is a folder here, and also the name of drawings that longclip makes: "
            f"write ./{name} for the folder, or ask for the drawings from another directory"
        )
    if kind in (Kind.SCENES, Kind.HUB):
        return CollectionSource(name)
    if kind is Kind.WEB:
        raise SearchError(f"{name}: pages of the web are not fetched; download it first")
    if kind is Kind.STORAGE:
        return _open_url(name)
    if kind is Kind.FOLDER:
        return FolderSource(name, without)
    if kind in (Kind.SHARD_FOLDER, Kind.SHARDS):
        shards = find_shards(name, ShardCache())
        return JoinedSource(os.path.abspath(name), [TarSource(shard.place) for shard in shards])
    if kind is Kind.PATTERN:
        return _open_pattern(name, without)
    if kind is Kind.MISSING or (kind is Kind.MIXTURE and not os.path.isfile(name)):
        raise SearchError(
            f"{name}: there is no such file or folder; check the path, and whether its disk is "
            "there"
        )
    if container := _open_container(name):
        return container
    if kind is Kind.TABLE and name.lower().endswith((*LISTS, ".json")):
        return ListSource(name)
    return CollectionSource(os.path.abspath(name)) if kind in _COLLECTIONS else FileSource(name)


@search_errors()
def read_original(uri: str) -> bytes:
    """Return the image file of a row, from where it was indexed.

    Raises:
        OSError, ValueError: where it is gone or cannot be read.
    """
    container, part, member = uri.rpartition(PART)
    if is_url(uri) and not (part and container.endswith(SHARDS)):
        return read_url(uri)
    if not part or os.path.isfile(uri):
        return read_file(uri)
    if is_tar_name(container):
        found = tar_images(container).by_name.get(member)
        if found is None:
            raise FileNotFoundError(f"{container} has no {member} any more")
        return read_image(container, found)
    if not member.isdecimal():
        raise FileNotFoundError(f"{uri} is no place that longclip has indexed")
    is_file = is_url(container) or os.path.isfile(container)
    rows = _rows_of(container, file_info(container).stamp if is_file else "")
    try:
        return rows.read(Item(uri, None, 0, int(member)))
    except IndexError:
        raise FileNotFoundError(f"{container} has no row {member} any more") from None


@lru_cache(maxsize=8)
def _rows_of(container: str, stamp: str) -> ParquetSource | CollectionSource:
    """Open a container once; its stamp is a key as well, so that a changed file is opened again."""
    is_parquet = container.endswith(".parquet")
    return ParquetSource(container) if is_parquet else CollectionSource(container)


def _open_container(place: str) -> TarSource | ParquetSource | None:
    """Open a file or URL that holds many images; return None where it is anything else."""
    if is_tar_name(place):
        return TarSource(place)
    return ParquetSource(place) if place.endswith(".parquet") else None


def _open_url(url: str) -> ImageSource:
    """Open one file, several by a pattern or by braces, or all images below an address."""
    names = expand_braces(url) if url.endswith(".tar") else [url]
    if names == [url] and not WILDCARDS & set(url):
        return _open_container(url) or StorageSource(url)
    parts: list[ImageSource] = []
    for name in names:
        if not WILDCARDS & set(name):
            parts.append(_open_container(name) or StorageSource(name))
            continue
        found = matching(name)
        if any(is_image_name(place) and not is_folder for place, is_folder in found.items()):
            parts.append(StoragePattern(name))
        for place, is_folder in found.items():
            # What `**` matches below a folder is matched itself.
            if is_folder and "**" not in name:
                parts.append(StorageSource(place))
            elif not is_folder and (container := _open_container(place)):
                parts.append(container)
    if not parts:
        raise SearchError(f"{url} matches nothing; check the pattern, and put it in quotes")
    return JoinedSource(url, parts)


def _open_pattern(pattern: str, without: str | Path | None) -> ImageSource:
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise SearchError(f"{pattern} matches nothing; check the pattern, and put it in quotes")
    parts: list[ImageSource] = []
    for path in found:
        if os.path.isdir(path):
            # What `**` matches below a folder is in that folder already.
            if "**" not in pattern:
                folder = open_image_source(Path(path), without=without)
                # Never one in another: the engine looks for shards among the parts.
                parts += folder.parts if isinstance(folder, JoinedSource) else [folder]
        elif is_image_name(path):
            parts.append(FileSource(path))
        elif path.endswith((*SHARDS, *LISTS)) or is_tar_name(path):
            parts.append(open_image_source(Path(path)))
    return JoinedSource(os.path.abspath(pattern), parts)
