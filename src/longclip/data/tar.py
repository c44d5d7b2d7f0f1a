"""Tar files read at any place: which member begins where, without unpacking anything."""

import os
import tarfile
from typing import NamedTuple

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
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for about in tar:
                    if about.islnk():
                        target = by_name.get(about.linkname)
                        member = target and target._replace(name=about.name)
                    elif about.isreg() and not about.issparse():
                        member = TarMember(about.name, about.offset_data, about.size, about.mtime)
                        if member.offset + member.size > size:
                            break
                    else:
                        member = None
                    end = tar.offset
                    if member is not None:
                        members.append(member)
                        by_name[member.name] = member
        # The last three: numbers in headers that make no sense.
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            damage = str(error)
        if not members and (damage or not size):
            raise DataError(
                f"{place} is no tar file ({damage or 'it is empty'}); a compressed one (.tar.gz) "
                "has to be decompressed first, as members are read at any place of it"
            )
        file.seek(end)
        # Two blocks of zeros end a tar file; tarfile takes damage for the end just as well.
        if damage or file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            damage = (
                f"cut off or damaged after {min(end, size):,} of {size:,} bytes; fetch it again"
            )
    return members, damage
