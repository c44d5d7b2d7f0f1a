"""Tar files read at any place: which member or sample begins where, without unpacking anything."""

import os
import tarfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from longclip.data.storage import open_file
from longclip.errors import DataError


class TarMember(NamedTuple):
    """A regular file in a tar file.

    Attributes:
        name: with its folders.
        offset: where its content begins, in bytes.
        size: bytes of that.
        mtime: when it was last changed, in seconds since 1970; not always a sensible number.
    """

    name: str
    offset: int
    size: int
    mtime: float


def read_members(place: str) -> tuple[list[TarMember], str]:
    """Read the headers of a tar file once.

    Members whose content is wholly there are used even where the padding behind it is cut off. A
    hard link is a member whose content is where its target stands. Files with holes are left out.

    Args:
        place: path or URL of object storage.

    Returns:
        The members in their order, and what is wrong with the file; that is empty where it is
        whole.

    Raises:
        DataError: if it is no tar file, or a compressed one.
        OSError: if it cannot be read.
    """
    members: list[TarMember] = []
    by_name: dict[str, TarMember] = {}
    end, damage = 0, ""
    with open_file(place) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            # Without compression alone is `offset_data` a place in the file itself.
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for about in tar:
                    if about.islnk():  # its own header has no content
                        target = by_name.get(about.linkname)
                        member = target and target._replace(name=about.name)
                    elif about.isreg() and not about.issparse():
                        member = TarMember(about.name, about.offset_data, about.size, about.mtime)
                        if member.offset + member.size > size:  # cut off within it
                            break
                    else:
                        member = None
                    end = tar.offset
                    if member is not None:
                        members.append(member)
                        by_name[member.name] = member
        # ValueError and OverflowError come of numbers in headers that make no sense.
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            damage = str(error)
        if not members and (damage or not size):
            raise DataError(
                f"{place} is no tar file ({damage or 'it is empty'}); a compressed one (.tar.gz) "
                "has to be decompressed first, as members are read at any place of it"
            )
        file.seek(end)
        # Two blocks of zeros end a tar file. tarfile takes a damaged header behind the first one
        # for the end just as well and says nothing, so what follows the last member is looked at.
        if damage or file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            damage = (
                f"cut off or damaged after {min(end, size):,} of {size:,} bytes; fetch it again"
            )
    return members, damage


_PICTURE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp"})


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard that have a picture.

    Attributes:
        places: int64 [samples, 3, 2], first byte and number of bytes of picture, .txt and .json;
            (0, 0) where a sample has no such member.
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
    sample, as WebDataset groups them: `a/1.left.jpg` is a picture of `a/1`. Of a file that is cut
    off or damaged the samples before that are used.

    Raises:
        DataError: if it is no tar file, or a compressed one.
    """

    def sample_of(member: TarMember) -> str:
        folder, slash, file = member.name.rpartition("/")
        return folder + slash + file.partition(".")[0]

    members, damage = read_members(str(path))
    places, pictureless = [], 0
    for _, group in groupby(members, key=sample_of):
        sample: dict[str, tuple[int, int]] = {}
        for member in group:
            extensions = member.name.rpartition("/")[2].partition(".")[2]
            extension = extensions.rpartition(".")[2].lower()
            kind = "picture" if extension in _PICTURE_EXTENSIONS else extension
            sample.setdefault(kind, (member.offset, member.size))
        if "picture" in sample:
            places.append([sample.get(kind, (0, 0)) for kind in ("picture", "txt", "json")])
        else:
            pictureless += 1
    return ShardIndex(np.array(places, np.int64).reshape(-1, 3, 2), pictureless, damage)
