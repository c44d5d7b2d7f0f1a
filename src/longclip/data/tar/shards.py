"""Tar shards of pictures and texts (WebDataset) as a Collection, read at any place."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.data.captions import Captions, is_long, sort_by_length
from longclip.data.collection import MAX_PICTURES_READ, Collection
from longclip.data.storage import is_url, read_part
from longclip.data.tables.columns import Columns
from longclip.data.tar.sample_texts import read_texts
from longclip.data.tar.samples import MAX_NAMED, NO_PICTURE, ShardIndex, scan
from longclip.data.tar.shard_cache import ShardCache
from longclip.data.tar.shard_list import Shard, find_shards
from longclip.errors import DataError, FetchError, ImageError
from longclip.image.decode import decode_image
from longclip.util.digest import Digest, spread
from longclip.util.files import atomic_path
from longclip.util.terminal import progress_display

_MAX_OPEN_INDEXES = 64
_MAX_NAMED_SHARDS = 3


class ShardCollection(Collection):
    """Samples of tar shards, one shard after the other.

    `read_samples` says what belongs to a sample. Its texts are its .txt members and the usual
    columns of its .json. A .txt is a short text if a stock CLIP reads it whole (77 tokens), else a
    long one, wherever the .json has it too; of the columns lengths decide as well
    (`sort_by_length`). Other members (.cls, .npy, pickles …) are never read.

    Args:
        shards: paths and addresses. Where they do not say how many samples they have, all of them
            are read through once, which takes fetching those that are elsewhere.
        cache: where these, and the places of samples in all shards, are kept.
        columns: of the .json members, where they have unusual names.
        texts_only: leave out the samples without a text, where any has one, of the shards that are
            read through.

    Attributes:
        missing: samples left out, without a picture or a text, of the shards read through.
        problems: a line for them and each other kind of members that are not used, and one for
            damaged shards, whose whole samples are used.

    Raises:
        DataError: if no shard has a picture.
        FetchError: if a shard that has to be read through cannot be fetched.
    """

    origins = (".txt and .json", ".txt and .json")

    def __init__(
        self,
        shards: Sequence[Shard],
        cache: ShardCache,
        columns: Columns | None = None,
        *,
        texts_only: bool = False,
    ) -> None:
        first = Path(urlsplit(shards[0].place).path).stem
        self.name = first if len(shards) == 1 else f"{first} … ({len(shards)} shards)"
        self._shards = shards
        self._cache = cache
        self._columns = columns or Columns()
        # Few indexes at a time are in use, and all of them would be 48 bytes a sample.
        self._texts_only = texts_only
        self._index = lru_cache(maxsize=_MAX_OPEN_INDEXES)(self._load_index)
        # Of shards of which samples are left out for want of a text: the numbers of the others.
        self._with_text: dict[int, NDArray[np.int32]] = {}
        self._ends = list(accumulate(self._count_samples()))
        if not self._ends[-1]:
            reason = next(iter(self.problems), "there is no .jpg, .png or other picture in it")
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
        return self._read(index, lambda samples, inner: [samples.picture(inner)])[0]

    def captions(self, index: int) -> Captions:
        """Return the texts of one sample; damaged JSON counts as none."""
        found = read_texts(
            self._read(index, lambda samples, inner: samples.texts(inner, as_json=False)),
            self._read(index, lambda samples, inner: samples.texts(inner, as_json=True)),
            self._columns,
        )
        by_length = sort_by_length(found.short, found.long, named=self._columns.short is not None)
        long = tuple(text for text in found.whole if is_long(text))
        short = tuple(text for text in found.whole if text not in long)
        return Captions((*short, *by_length.short), (*long, *by_length.long))

    def require_texts(self) -> None:
        """Raise where no sample has a text; only of shards that were opened with `texts_only`.

        Raises:
            DataError: says where a text would be.
        """
        if not self._has_texts:
            raise DataError(
                f"{self.name} has no texts: no .txt or .json member in it that belongs to a "
                "picture has one; give those of a sample the same name up to the first dot, as "
                "1.jpg and 1.txt"
            )

    def fingerprint(self) -> str:
        """Return the SHA-256 of the shards' names and sizes, and of what lies where in them.

        Of the samples an even choice is read. Of a shard elsewhere it is the name and the number of
        samples: what is at an address never changes, and fetching all would take too long.
        """
        digest, sizes = Digest(), [len(block) for block in self.blocks()]
        for number, shard in enumerate(self._shards):
            digest.add(Path(urlsplit(shard.place).path).name, str(sizes[number]))
            if not is_url(shard.place):
                with suppress(DataError):  # a damaged one has no samples, as its number says
                    digest.add_bytes(self._index(number).places.tobytes())
        for index in spread(len(self), MAX_PICTURES_READ):
            if is_url(self._shards[self._find(index)[0]].place):
                continue
            try:
                digest.add(self.key(index), repr(self.captions(index)))
            except ImageError:
                digest.add("no picture")
        return digest.hexdigest()

    def _count_samples(self) -> list[int]:
        """Return the number of samples of every shard; note what is damaged or left out.

        They have to be known before training begins: a plan orders all samples of an epoch at
        once, and finds its place in that order again when a run is resumed.
        """
        unknown = [i for i, shard in enumerate(self._shards) if shard.samples is None]
        scanned: dict[int, int] = {}
        damaged: list[str] = []
        left_out: dict[str, tuple[int, list[str]]] = {}
        without_text: list[str] = []
        with progress_display() as progress:
            for done, number in enumerate(unknown):
                progress("counting samples of shards", done, len(unknown))
                try:
                    index = self._index(number)
                except FetchError:  # a DataError too, but the shard may be there another time
                    raise
                except DataError as error:
                    scanned[number] = 0
                    damaged.append(str(error))
                    continue
                scanned[number] = len(index)
                if self._texts_only and not index.with_text.all():
                    self._with_text[number] = np.flatnonzero(index.with_text).astype(np.int32)
                    without_text += index.without_text
                for reason, (count, names) in index.left_out.items():
                    before, named = left_out.get(reason, (0, []))
                    left_out[reason] = (before + count, [*named, *names])
                if index.damage:
                    damaged.append(f"{self._shards[number].place} is {index.damage}")
            if unknown:
                progress("counting samples of shards", len(unknown), len(unknown))
        problems = damaged[:_MAX_NAMED_SHARDS]
        if len(damaged) > _MAX_NAMED_SHARDS:
            problems.append(
                f"{len(damaged) - _MAX_NAMED_SHARDS} more shards are cut off or damaged"
            )
        for reason, (count, names) in left_out.items():
            more = ", …" if count > MAX_NAMED else ""
            members = "1 member" if count == 1 else f"{count:,} members"
            problems.append(f"{members} left out, {reason}: {', '.join(names[:MAX_NAMED])}{more}")
        self.missing = left_out.get(NO_PICTURE, (0, []))[0]
        whole = sum(scanned.values())
        lacking = sum(scanned[number] - len(kept) for number, kept in self._with_text.items())
        self._has_texts = not lacking or lacking < whole or len(unknown) < len(self._shards)
        if lacking == whole:  # their pictures can be looked at all the same
            self._with_text.clear()
        elif lacking:
            scanned |= {number: len(kept) for number, kept in self._with_text.items()}
            more = ", …" if lacking > MAX_NAMED else ""
            pictures = ", ".join(without_text[:MAX_NAMED])
            problems.append(
                f"{lacking:,} of {whole:,} samples left out, without a text: {pictures}{more}"
            )
            self.missing += lacking
        self.problems = tuple(problems)
        return [
            scanned[number] if shard.samples is None else shard.samples
            for number, shard in enumerate(self._shards)
        ]

    def _load_index(self, number: int) -> ShardIndex:
        """Load an index from the cache; from the shard, and into the cache, if it is not there.

        It is kept apart from the shard, which the cache may remove, and by what identifies the
        content: a file on disk may change under its path; what is at an address never does.
        """
        place = self._shards[number].place
        identity = place
        if not is_url(place):
            about = Path(place).stat()
            identity = f"{Path(place).absolute()} {about.st_size} {about.st_mtime_ns}"
        # Of shards whose number of samples is known none is left out.
        reads_texts = self._texts_only and self._shards[number].samples is None
        columns = self._columns if reads_texts else None
        if columns:
            identity += f" {columns}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:24]
        kept = self._cache.directory / "index" / f"{digest}.npz"
        with suppress(OSError, ValueError, KeyError, BadZipFile), kept.open("rb") as file:
            return ShardIndex.load(file)
        index = scan(self._path(number), columns)
        # A cache that cannot be written costs time and nothing else.
        with suppress(OSError), atomic_path(kept) as temporary, temporary.open("wb") as file:
            index.save(file)
        return index

    def _path(self, number: int) -> Path:
        """Return the path of a shard, fetched where it is elsewhere."""
        place = self._shards[number].place
        return self._cache.shard(place) if is_url(place) else Path(place)

    def _find(self, index: int) -> tuple[int, int]:
        """Return the number of the shard and of the sample in it."""
        number = bisect_right(self._ends, range(len(self))[index])
        inner = index - (self._ends[number - 1] if number else 0)
        kept = self._with_text.get(number)
        return number, inner if kept is None else int(kept[inner])

    def _read(
        self, index: int, find: Callable[[ShardIndex, int], Sequence[tuple[int, int]]]
    ) -> list[bytes]:
        """Return the bytes of some members of a sample.

        Args:
            index: of the sample.
            find: returns the first byte and the number of bytes of each, from the index of the
                shard and the number of the sample in it.

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
            contents = []
            for first, size in find(samples, inner):
                try:
                    content = read_part(str(self._path(number)), first, size)
                except FileNotFoundError:  # another process has made room in the cache just now
                    content = read_part(str(self._path(number)), first, size)
                if len(content) != size:
                    raise ImageError(
                        f"{self._title(index)}: the shard has been cut off; fetch it again"
                    )
                contents.append(content)
        except (DataError, OSError) as error:
            raise ImageError(f"{self._title(index)}: {error}") from error
        return contents

    def _title(self, index: int) -> str:
        number, inner = self._find(index)
        return f"{self._shards[number].place}, sample {inner}"


def open_shards(
    data: str,
    columns: Columns | None = None,
    cache: ShardCache | None = None,
    *,
    texts_only: bool = False,
) -> ShardCollection:
    """Open shards by path, pattern or address; see `find_shards` and `ShardCollection`.

    Raises:
        DataError: if there are none, one is no tar file, or none has a picture.
    """
    cache = cache or ShardCache()
    return ShardCollection(find_shards(data, cache), cache, columns, texts_only=texts_only)
