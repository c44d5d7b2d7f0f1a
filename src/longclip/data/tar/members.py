"""Members of tar files, read at any place: which begins where, without unpacking anything."""

import os
import posixpath
import tarfile
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from longclip.data.storage import open_file
from longclip.errors import DataError

WITH_HOLES = "packed as files with holes; pack them without --sparse"
DANGLING = "links to what is not in the tar file; pack it with --dereference"
NO_FILE = "neither files nor links to one"
"""Reasons why there is no content of a member."""

_SKIPPED_BYTES = 1 << 20
"""Zeros behind an archive that are read at once."""

_MAX_LINKS = 40
"""Links that lead to links before they are taken for a circle, as in Linux."""

_COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


class TarMember(NamedTuple):
    """A regular file in a tar file.

    Attributes:
        name: with its folders.
        offset: where its content begins, in bytes.
        size: bytes of that.
        mtime: when it was last changed, in seconds since 1970; not always a sensible number.
        number: of its header among those that follow one another.
    """

    name: str
    offset: int
    size: int
    mtime: float
    number: int


@dataclass
class TarMembers:
    """Content of a tar file.

    Attributes:
        archives: the members in their order. Where tar files were joined (by `cat`), those of each
            by themselves, as their names have nothing to do with one another.
        unreadable: names of members that have no content which could be read, and why.
        damage: what is wrong with the file; empty where it is whole.
    """

    archives: list[list[TarMember]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    damage: str = ""


def read_members(place: str) -> TarMembers:
    """Read the headers of a tar file once.

    Members whose content is wholly there are used even where the padding behind it is cut off. A
    link is a member whose content is where its target stands.

    Args:
        place: path or URL of object storage.

    Raises:
        DataError: if it is no tar file, or a compressed one.
        OSError: if it cannot be read.
    """
    found = TarMembers()
    with open_file(place) as file:
        size = file.seek(0, os.SEEK_END)
        start: int | None = 0
        while start is not None:
            file.seek(start)
            end, reason = _read_archive(file, size, found)
            if reason and not any(found.archives):
                refuse_compressed(file, place)
                raise DataError(f"{place} is no tar file ({reason}); fetch or write it again")
            file.seek(end)
            # Two blocks of zeros end a tar file. tarfile takes a damaged header behind the first
            # one for the end just as well and says nothing, so what follows is looked at.
            if reason or file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                found.damage = (
                    f"cut off or damaged after {min(end, size):,} of {size:,} bytes; fetch it again"
                )
                break
            start = _next_archive(file)
    return found


def _read_archive(file: BinaryIO, size: int, found: TarMembers) -> tuple[int, str]:
    """Read the headers from here to the zeros that end an archive, into `found`.

    Returns:
        Where the last whole member ends, and why it could not be read to its end.
    """
    archive: list[TarMember] = []
    by_name: dict[str, TarMember] = {}
    links: dict[int, tuple[str, str]] = {}
    end, reason = file.tell(), ""
    try:
        # Without compression alone is `offset_data` a place in the file itself.
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for number, about in enumerate(tar):
                member = None
                if about.islnk() and about.linkname in by_name:  # its own header has no content
                    target = by_name[about.linkname]
                    member = target._replace(name=about.name, number=number)
                elif about.islnk() or about.issym():
                    folder = posixpath.dirname(about.name) if about.issym() else ""
                    links[number] = (about.name, posixpath.join(folder, about.linkname))
                elif about.isreg() and not about.issparse():
                    member = TarMember(
                        about.name, about.offset_data, about.size, about.mtime, number
                    )
                    if member.offset + member.size > size:  # cut off within it
                        break
                elif not about.isdir():
                    found.unreadable[about.name] = WITH_HOLES if about.issparse() else NO_FILE
                end = tar.offset
                if member is not None:
                    archive.append(member)
                    by_name[member.name] = member
    # ValueError and OverflowError come of numbers in headers that make no sense.
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        reason = str(error)
    # The target of a symbolic link may come behind it.
    targets = {posixpath.normpath(name): member for name, member in by_name.items()}
    leads_to = {posixpath.normpath(name): posixpath.normpath(to) for name, to in links.values()}
    for number, (name, _) in links.items():
        place = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            place = leads_to.get(place, place)
        if place in targets:
            archive.append(targets[place]._replace(name=name, number=number))
        else:
            found.unreadable[name] = DANGLING
    archive.sort(key=lambda member: member.number)
    found.archives.append(archive)
    return end, reason


def _next_archive(file: BinaryIO) -> int | None:
    """Return where another archive begins behind zeros; None where there is nothing but zeros."""
    at = file.tell()
    while zeros := file.read(_SKIPPED_BYTES):
        if len(rest := zeros.lstrip(b"\0")):
            at += len(zeros) - len(rest)
            return at - at % tarfile.BLOCKSIZE
        at += len(zeros)
    return None


def refuse_compressed(file: BinaryIO, place: str) -> None:
    """Raise where a file is compressed.

    Raises:
        DataError: says by what, and what to do.
    """
    file.seek(0)
    start = file.read(8)
    for magic, (kind, command) in _COMPRESSIONS.items():
        if start.startswith(magic):
            raise DataError(
                f"{place} is no tar file but compressed with {kind}; decompress it first "
                f"(`{command} {place}`), as members are read at any place of it"
            )
