"""Tar shards of pictures and texts (WebDataset) as a Collection, read at any place."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import Collection
from longclip.data.shard_cache import ShardCache
from longclip.data.shard_list import Shard, find_shards, name_of
from longclip.data.storage import is_url, read_part
from longclip.data.table import USUAL, Columns, strings
from longclip.data.tar import read_members
from longclip.errors import DataError, FetchError, ImageError
from longclip.image.decode import decode_image
from longclip.spec import STOCK_CONTEXT
from longclip.text.tokenizer import clip_tokenizer
from longclip.util.files import atomic_path
from longclip.util.terminal import progress_display

_PICTURE, _TXT, _JSON = range(3)
_MAX_NAMED_SHARDS = 3


PICTURES = frozenset({"jpg", "jpeg", "png", "webp"})

Place = tuple[int, int]
"""First byte and number of bytes of a member; (0, 0) where there is none."""


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard that have a picture.

    Attributes:
        places: int64 [samples, 3, 2], first byte and size of picture, .txt and .json.
        pictureless: samples that have no picture, which are left out.
        damage: what is wrong with the file; empty where it is whole.
    """

    places: NDArray[np.int64]
    pictureless: int = 0
    damage: str = ""

    def __len__(self) -> int:
        return len(self.places)


def scan(path: Path) -> ShardIndex:
    """Find the samples of a tar file by its headers.

    Members that follow one another with the same name up to the first dot of the file name are one
    sample, as WebDataset groups them. Of a file that is cut off or damaged the samples before
    that are used.

    Raises:
        DataError: if it is no tar file, or a compressed one.
    """
    members, damage = read_members(str(path))
    places, pictureless = [], 0
    for _, group in groupby(members, key=lambda member: _key_and_kind(member.name)[0]):
        sample: dict[str, Place] = {}
        for member in group:
            sample.setdefault(_key_and_kind(member.name)[1], (member.offset, member.size))
        if "picture" in sample:
            places.append([sample.get(kind, (0, 0)) for kind in ("picture", "txt", "json")])
        else:
            pictureless += 1
    return ShardIndex(np.array(places, np.int64).reshape(-1, 3, 2), pictureless, damage)


def _key_and_kind(name: str) -> tuple[str, str]:
    """Return the sample and the role of a member: `a/1.left.jpg` is a picture of `a/1`."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    kind = extension.rpartition(".")[2].lower()
    return folder + slash + stem, "picture" if kind in PICTURES else kind


class ShardCollection(Collection):
    """Samples of tar shards, one shard after the other.

    A sample's texts are its .txt and the usual columns of its .json. The .txt is a short text if a
    stock CLIP reads it whole (77 tokens), else a long one, wherever the .json has it too. Other
    members (.cls, .npy, pickles …) are never read.

    Args:
        shards: paths and addresses. Where they do not say how many samples they have, all of them
            are read through once, which takes fetching those that are elsewhere.
        cache: where these, and the places of samples in all shards, are kept.
        columns: of the .json members, where they have unusual names.

    Attributes:
        missing: samples without a picture in the shards that have been read through.
        problems: a line for them, and one for damaged shards, whose whole samples are used.
    """

    def __init__(
        self, shards: Sequence[Shard], cache: ShardCache, columns: Columns | None = None
    ) -> None:
        self.name = name_of(shards)
        self._shards = shards
        self._cache = cache
        self._columns = columns or Columns()
        # Few at a time are in use, and all of them would be 48 bytes a sample.
        self._index = lru_cache(maxsize=64)(self._load_index)
        self._ends = list(accumulate(self._counts()))
        if not self._ends[-1]:
            reason = next(iter(self.problems), "they hold no .jpg, .jpeg, .png or .webp")
            raise DataError(f"no pictures in {self.name}: {reason}")

    def __len__(self) -> int:
        return self._ends[-1]

    def blocks(self) -> Sequence[range]:
        """Return the samples of each shard."""
        return [range(start, stop) for start, stop in pairwise([0, *self._ends])]

    def image(self, index: int) -> Image.Image:
        """Decode one picture."""
        content = self.image_file(index)
        try:
            return decode_image(content)
        except ImageError as error:
            raise ImageError(f"{self._title(index)}: {error}") from None

    def image_file(self, index: int) -> bytes:
        """Return the picture's bytes."""
        return self._read(index, _PICTURE)

    def captions(self, index: int) -> Captions:
        """Return the texts of one sample; damaged JSON counts as none."""
        text = self._read(index, _TXT).decode("utf-8-sig", errors="replace").strip()
        fields: Any = {}
        with suppress(ValueError):
            fields = json.loads(self._read(index, _JSON) or b"{}")
        short, long = (self._texts(fields, role, text) for role in ("short", "long"))
        if text and len(clip_tokenizer().encode([text])[0]) <= STOCK_CONTEXT:
            short = (text, *short)
        elif text:
            long = (text, *long)
        return Captions(short, long)

    def _texts(self, fields: Any, role: str, besides: str) -> tuple[str, ...]:
        if not isinstance(fields, dict):
            return ()
        named = getattr(self._columns, role)
        names = (named,) if named else USUAL[role]
        found = next((fields[name] for name in names if fields.get(name)), None)
        return tuple(text for text in strings(found) if text.strip() != besides)

    def _counts(self) -> list[int]:
        unknown = [i for i, shard in enumerate(self._shards) if shard.samples is None]
        scanned: dict[int, int] = {}
        damaged: list[str] = []
        with progress_display() as progress:
            for done, number in enumerate(unknown):
                progress("counting samples of shards", done, len(unknown))
                try:
                    index = self._index(number)
                except FetchError:
                    raise
                except DataError as error:
                    scanned[number] = 0
                    damaged.append(str(error))
                    continue
                scanned[number] = len(index)
                self.missing += index.pictureless
                if index.damage:
                    damaged.append(f"{self._shards[number].place} is {index.damage}")
            if unknown:
                progress("counting samples of shards", len(unknown), len(unknown))
        self.problems = _problems(damaged, self.missing)
        return [
            scanned[number] if shard.samples is None else shard.samples
            for number, shard in enumerate(self._shards)
        ]

    def _load_index(self, number: int) -> ShardIndex:
        """Load an index from the cache; from the shard, and into the cache, if it is not there."""
        place = self._shards[number].place
        identity = place
        if not is_url(place):
            about = Path(place).stat()
            identity = f"{Path(place).absolute()} {about.st_size} {about.st_mtime_ns}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:24]
        kept = self._cache.directory / "index" / f"{digest}.npz"
        with suppress(OSError, ValueError, KeyError), np.load(kept, allow_pickle=False) as file:
            return ShardIndex(file["places"], int(file["pictureless"]), str(file["damage"]))
        index = scan(self._path(number))
        # A cache that cannot be written costs time and nothing else.
        with suppress(OSError), atomic_path(kept) as temporary, temporary.open("wb") as file:
            np.savez(file, places=index.places, pictureless=index.pictureless, damage=index.damage)
        return index

    def _path(self, number: int) -> Path:
        place = self._shards[number].place
        return self._cache.shard(place) if is_url(place) else Path(place)

    def _find(self, index: int) -> tuple[int, int]:
        """Return the number of the shard and of the sample in it."""
        number = bisect_right(self._ends, range(len(self))[index])
        return number, index - (self._ends[number - 1] if number else 0)

    def _read(self, index: int, kind: int) -> bytes:
        """Return the bytes of one member; nothing where the sample has no such member.

        Raises:
            ImageError: if the shard or the sample is not there.
        """
        number, inner = self._find(index)
        try:
            samples = self._index(number)
            if inner >= len(samples):
                raise ImageError(
                    f"{self._title(index)}: the shard has {len(samples)} samples with pictures, "
                    f"not {self._shards[number].samples} as its sizes or index say"
                )
            first, size = map(int, samples.places[inner, kind])
            content = self._bytes(number, first, size) if size else b""
        except (DataError, OSError) as error:
            raise ImageError(f"{self._title(index)}: {error}") from error
        if len(content) != size:
            raise ImageError(f"{self._title(index)}: the shard has been cut off; fetch it again")
        return content

    def _bytes(self, number: int, first: int, size: int) -> bytes:
        try:
            return read_part(str(self._path(number)), first, size)
        except FileNotFoundError:  # another process has made room in the cache just now
            return read_part(str(self._path(number)), first, size)

    def _title(self, index: int) -> str:
        number, inner = self._find(index)
        return f"{self._shards[number].place}, sample {inner}"


def open_shards(
    data: str, columns: Columns | None = None, cache: ShardCache | None = None
) -> ShardCollection:
    """Open shards by path, pattern or address; see `longclip.data.shard_list.find_shards`.

    Raises:
        DataError: if there are none, one is no tar file, or none has a picture.
    """
    cache = cache or ShardCache()
    return ShardCollection(find_shards(data, cache), cache, columns)


def _problems(damaged: Sequence[str], missing: int) -> tuple[str, ...]:
    lines = list(damaged[:_MAX_NAMED_SHARDS])
    if len(damaged) > _MAX_NAMED_SHARDS:
        lines.append(f"{len(damaged) - _MAX_NAMED_SHARDS} more shards are cut off or damaged")
    if missing:
        lines.append(f"{missing:,} samples left out: they have no picture")
    return tuple(lines)
