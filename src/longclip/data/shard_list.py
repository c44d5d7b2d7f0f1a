"""From what a user writes to the list of shards: braces, patterns, addresses, index files."""

import glob
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from longclip.data.shard_cache import ShardCache
from longclip.errors import DataError

SIZES = "sizes.json"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 1_000_000


@dataclass(frozen=True)
class Shard:
    """One tar file: its path or address, and how many samples it is said to have."""

    place: str
    samples: int | None = None


def is_remote(data: str) -> bool:
    """Whether `data` is an address that shards can be fetched from."""
    return data.startswith(("http://", "https://"))


def is_shards(data: str) -> bool:
    """Whether `data` names tar files, or is an address."""
    return is_remote(data) or data.endswith(".tar") or _in_folder(data)


def find_shards(data: str, cache: ShardCache) -> list[Shard]:
    """The shards that `data` means, in the order it gives them in; patterns are sorted by name.

    `data` is one .tar file or address, several as `part-{000..099}.tar` or `{a,b}.tar`, a pattern
    with * and ?, a folder of .tar files, or an index: a JSON file with `shardlist`, as WebDataset's
    `wids` writes it. Numbers of samples are taken from the index, or from a file `sizes.json` with
    {"name.tar": samples} beside the shards.

    Raises:
        DataError: if there are none.
    """
    if data.endswith(".json"):
        return _from_index(data, cache)
    found = [place for name in expand_braces(data) for place in _matching(name)]
    sizes: dict[str, dict[str, int]] = {}
    shards = []
    for place in found:
        base = urljoin(place, SIZES) if is_remote(place) else str(Path(place).with_name(SIZES))
        if base not in sizes:
            sizes[base] = _sizes(base, cache)
        name = urlsplit(place).path.rpartition("/")[2] if is_remote(place) else Path(place).name
        shards.append(Shard(place, sizes[base].get(name)))
    return shards


def expand_braces(text: str) -> list[str]:
    """`a{08..10}{x,y}` is a08x, a08y, a09x …; numbers keep their width, as in a shell."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    bounds = _RANGE.fullmatch(match[1])
    if bounds:
        first, last = bounds.groups()
        if not 0 <= int(last) - int(first) < _MOST:
            raise DataError(f"{text!r}: {{{match[1]}}} is no range of numbers that go up")
        choices = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    before, after = text[: match.start()], expand_braces(text[match.end() :])
    return [before + choice + rest for choice in choices for rest in after]


def _matching(name: str) -> list[str]:
    if is_remote(name):
        return [name]
    path = Path(name)
    if path.is_dir():
        return sorted(map(str, path.glob("*.tar")))
    if path.is_file():
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise DataError(f"no shard {name!r}; check the path, or the numbers in braces")
    return found


def _in_folder(data: str) -> bool:
    """Whether `data` is a folder of tar files and nothing but what may lie beside them."""
    if not Path(data).is_dir():
        return False
    suffixes = {path.suffix for path in Path(data).iterdir() if not path.name.startswith(".")}
    return ".tar" in suffixes and suffixes <= {".tar", ".json", ".txt", ".md"}


def _sizes(place: str, cache: ShardCache) -> dict[str, int]:
    """Names and numbers of samples; nothing where there is no such file."""
    text = cache.text(place) if is_remote(place) else _text(Path(place))
    if text is None:
        return {}
    content = _parsed(text, place)
    if not isinstance(content, dict):
        raise DataError(f'{place} is not {{"name.tar": samples, …}}; write it so, or remove it')
    return {name: count for name, count in content.items() if _is_count(count)}


def _from_index(data: str, cache: ShardCache) -> list[Shard]:
    text = cache.text(data) if is_remote(data) else _text(Path(data))
    if text is None:
        raise DataError(f"there is no {data}; check the address")
    content = _parsed(text, data)
    rows = content.get("shardlist") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{data} lists no shards: its `shardlist` is missing or empty")
    shards = []
    for row in rows:
        url = row.get("url") if isinstance(row, dict) else None
        if not isinstance(url, str):
            raise DataError(f"{data}: an entry of `shardlist` has no `url`")
        place = urljoin(data, url) if is_remote(data) else _beside(Path(data), url)
        count = row.get("nsamples")
        shards.append(Shard(place, count if _is_count(count) else None))
    return shards


def _beside(index: Path, url: str) -> str:
    return url if is_remote(url) else str(index.parent / url)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8-sig") if path.is_file() else None


def _parsed(text: str, place: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is damaged JSON ({error}); write or fetch it again") from None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def places(shards: Sequence[Shard]) -> str:
    """The name of some shards in reports: the first, and how many more."""
    first = Path(urlsplit(shards[0].place).path).stem
    return first if len(shards) == 1 else f"{first} … ({len(shards)} shards)"
