"""What is where in a tar shard of pictures and texts (WebDataset), without unpacking it."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longclip.errors import DataError

PICTURES = frozenset({"jpg", "jpeg", "png", "webp"})
_BLOCK = 512

Place = tuple[int, int]
"""First byte and number of bytes of a member; (0, 0) where there is none."""
_NOWHERE: Place = (0, 0)


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
    """Read the headers of a tar file once.

    Members that follow one another with the same name up to the first dot of the file name are one
    sample, as WebDataset groups them. Of a file that is cut off or damaged the samples before
    that are used.

    Raises:
        DataError: if it is no tar file, or a compressed one.
    """
    members, damage = _members(path)
    places, pictureless = [], 0
    for _, group in groupby(members, itemgetter(0)):
        sample: dict[str, Place] = {}
        for _, kind, place in group:
            sample.setdefault(kind, place)
        if "picture" in sample:
            places.append([sample.get(kind, _NOWHERE) for kind in ("picture", "txt", "json")])
        else:
            pictureless += 1
    return ShardIndex(np.array(places, np.int64).reshape(-1, 3, 2), pictureless, damage)


def _members(path: Path) -> tuple[list[tuple[str, str, Place]], str]:
    """Key, kind and place of each whole member, and what is wrong with the rest of the file."""
    found: list[tuple[str, str, Place]] = []
    size, end, damage = path.stat().st_size, 0, ""
    try:
        for name, place in _files(path):
            if sum(place) > size:
                break
            end = -(-sum(place) // _BLOCK) * _BLOCK
            key, kind = _key_and_kind(name)
            found.append((key, kind, place))
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        damage = str(error)
    if not found and (damage or not size):
        raise DataError(
            f"{path} is no tar file ({damage or 'it is empty'}); a compressed one (.tar.gz) has to "
            "be decompressed first, as samples are read at any place of it"
        )
    with path.open("rb") as file:
        file.seek(end)
        # Two blocks of zeros end a tar file; tarfile takes damage for the end just as well.
        if damage or file.read(_BLOCK) != bytes(_BLOCK):
            damage = f"cut off or damaged after {end:,} of {size:,} bytes; fetch it again"
    return found, damage


def _files(path: Path) -> Iterator[tuple[str, Place]]:
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.isreg() and not member.issparse():
                yield member.name, (member.offset_data, member.size)


def _key_and_kind(name: str) -> tuple[str, str]:
    """`a/0001.left.jpg` is a picture of the sample `a/0001`."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    kind = extension.rpartition(".")[2].lower()
    return folder + slash + stem, "picture" if kind in PICTURES else kind
