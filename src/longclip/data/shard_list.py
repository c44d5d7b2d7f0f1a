"""Lists of shards from braces, patterns, URLs and index files."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from longclip.data.json_files import parse_json, read_text
from longclip.data.shard_cache import ShardCache
from longclip.data.storage import WILDCARDS, beside, is_url, is_web, matching
from longclip.errors import DataError

SIZES = "sizes.json"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MAX_SHARDS_IN_BRACES = 1_000_000


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
        return _from_index(data, cache)
    found = [place for name in expand_braces(data) for place in _matching(name)]
    sizes: dict[str, dict[str, int]] = {}
    shards = []
    for place in found:
        base = beside(place, SIZES)
        if base not in sizes:
            sizes[base] = _sizes(base, cache)
        name = urlsplit(place).path.rpartition("/")[2] if is_url(place) else Path(place).name
        shards.append(Shard(place, sizes[base].get(name)))
    return shards


def expand_braces(text: str) -> list[str]:
    """Expand `a{08..10}{x,y}` to a08x, a08y, a09x …; numbers keep their width, as in a shell."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    bounds = _RANGE.fullmatch(match[1])
    if bounds:
        first, last = bounds.groups()
        if not 0 <= int(last) - int(first) < MAX_SHARDS_IN_BRACES:
            raise DataError(f"{text!r}: {{{match[1]}}} is no range of numbers that go up")
        choices = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    before, after = text[: match.start()], expand_braces(text[match.end() :])
    return [before + choice + rest for choice in choices for rest in after]


def _matching(name: str) -> list[str]:
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
        return sorted(map(str, path.glob("*.tar")))
    if path.is_file():
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise DataError(f"no shard {name!r}; check the path, or the numbers in braces")
    return found


def _sizes(place: str, cache: ShardCache) -> dict[str, int]:
    """Return names and numbers of samples; nothing where there is no such file."""
    text = _text(place, cache)
    if text is None:
        return {}
    content = parse_json(text, place)
    if not isinstance(content, dict):
        raise DataError(f'{place} is not {{"name.tar": samples, …}}; write it so, or remove it')
    return {name: count for name, count in content.items() if _is_count(count)}


def _from_index(data: str, cache: ShardCache) -> list[Shard]:
    text = _text(data, cache)
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
        count = row.get("nsamples")
        shards.append(Shard(beside(data, url), count if _is_count(count) else None))
    return shards


def _text(place: str, cache: ShardCache) -> str | None:
    if is_url(place):
        return cache.text(place)
    return read_text(Path(place)) if Path(place).is_file() else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def name_of(shards: Sequence[Shard]) -> str:
    """Return the name of some shards in reports: the first, and how many more."""
    first = Path(urlsplit(shards[0].place).path).stem
    return first if len(shards) == 1 else f"{first} … ({len(shards)} shards)"
