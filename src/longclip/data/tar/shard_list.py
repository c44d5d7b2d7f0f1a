"""Lists of tar shards: what a path, a pattern, an address or an index means."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from longclip.data.json_files import parse_json
from longclip.data.names import expand_braces, is_tar_name
from longclip.data.storage import WILDCARDS, beside, is_url, is_web, matching
from longclip.data.tar.shard_cache import ShardCache
from longclip.data.text_files import read_text
from longclip.errors import DataError

_MAX_SAMPLES = 1_000_000_000
"""Samples that one shard may be said to have; it has thousands."""

SIZES_FILE = "sizes.json"
"""File beside shards with {"name.tar": samples}, as open_clip reads it."""


@dataclass(frozen=True)
class Shard:
    """One tar file: its path or address, and how many samples it is said to have."""

    place: str
    samples: int | None = None


def find_shards(data: str, cache: ShardCache) -> list[Shard]:
    """Return the shards that `data` means, in its order; those of a pattern sorted by name.

    `data` is one .tar file or URL, several as `part-{000..099}.tar` or `{a,b}.tar`, a pattern
    with * and ? or a folder of .tar files (neither of them on the web), or an index: a JSON file
    with `shardlist`, as WebDataset's `wids` writes it. Numbers of samples are taken from the index,
    or from a file `sizes.json` with {"name.tar": samples} beside the shards.

    Raises:
        DataError: if there are none.
    """
    if data.endswith(".json"):
        return _shards_of_index(data, cache)
    found = [place for name in expand_braces(data) for place in _matching_places(name)]
    sizes: dict[str, dict[str, Any]] = {}
    shards = []
    for place in found:
        sizes_place = beside(place, SIZES_FILE)
        if sizes_place not in sizes:
            text = _read_text(sizes_place, cache)
            content = {} if text is None else parse_json(text, sizes_place)
            if not isinstance(content, dict):
                raise DataError(
                    f'{sizes_place} is not {{"name.tar": samples, …}}; write it so, or remove it'
                )
            sizes[sizes_place] = content
        name = urlsplit(place).path.rpartition("/")[2] if is_url(place) else Path(place).name
        shards.append(Shard(place, _count(sizes[sizes_place].get(name), f"{sizes_place}: {name}")))
    return shards


def _matching_places(name: str) -> list[str]:
    """Return the paths or URLs of shards that one name without braces means.

    They are kept as they were given: relative paths stay relative, since the place of a shard
    names it in messages and finds its number in sizes.json.
    """
    if is_web(name) or (is_url(name) and name.endswith(".tar") and not WILDCARDS & set(name)):
        return [name]
    if is_url(name):
        pattern = name if WILDCARDS & set(name) else f"{name.rstrip('/')}/*.tar"
        found = [url for url in matching(pattern) if url.endswith(".tar")]
        if not found:
            raise DataError(f"no shard {pattern!r}; check the address")
        return found
    path = Path(name)
    if path.is_dir():
        shown = (file for file in path.iterdir() if not file.name.startswith("."))
        return sorted(str(file) for file in shown if is_tar_name(file.name))
    if path.is_file():  # also where its name looks like a pattern
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise DataError(f"no shard {name!r}; check the path, or the numbers in braces")
    return found


def _shards_of_index(data: str, cache: ShardCache) -> list[Shard]:
    text = _read_text(data, cache)
    if text is None:
        raise DataError(f"there is no {data}; check the address")
    content = parse_json(text, data)
    rows = content.get("shardlist") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{data} lists no shards: its `shardlist` is missing or empty")
    shards = []
    for row in rows:
        url = row.get("url") if isinstance(row, dict) else None
        if not isinstance(url, str):
            raise DataError(f"{data}: an entry of `shardlist` has no `url`")
        if "\0" in url:
            raise DataError(f"{data}: the `url` {url!r} of a shard has a null character")
        samples = _count(row.get("nsamples"), f"{data}: `nsamples` of {url}")
        shards.append(Shard(beside(data, url), samples))
    return shards


def _read_text(place: str, cache: ShardCache) -> str | None:
    """Return a text file on disk or at a URL; None where there is none."""
    if is_url(place):
        return cache.text(place)
    return read_text(Path(place)) if Path(place).is_file() else None


def _count(value: object, where: str) -> int | None:
    """Return a number of samples from JSON; None where none is stated.

    Raises:
        DataError: if it is no such number.
    """
    if value is None or (type(value) is int and 0 <= value <= _MAX_SAMPLES):
        return value
    raise DataError(
        f"{where} is {value!r:.60}, must be a whole number of samples; correct it or take it out"
    )
