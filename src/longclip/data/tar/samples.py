"""Samples of tar files: which pictures and texts belong together, for training and search alike."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from longclip.data.names import SEARCHED_SUFFIXES, TEXT_SUFFIXES
from longclip.data.tables.columns import Columns
from longclip.data.tar.members import TarMember, read_members
from longclip.data.tar.sample_texts import read_texts
from longclip.util.regular_files import open_regular

MAX_NAMED = 3
"""Members that are named, of those that are left out for one reason."""

NO_PICTURE = "without a picture"
OTHERS = "further pictures of samples"
BROKEN = "no JSON objects that can be read"
"""Reasons why members are not used."""

_MAX_DOTS = 32
"""Dots of a name at which it is shortened; a name may have a million."""

_OF_SYSTEMS = frozenset({"__MACOSX", "PaxHeaders", "GNUSparseFile"})
"""Folders in which systems and programs keep what is no file of the user."""


@dataclass(frozen=True)
class TarSample:
    """A picture of a tar file and what belongs to it.

    Attributes:
        picture: the picture.
        others: further pictures of the sample, such as its segmentation.
        texts: members with texts, those of .json last, those with the name of the picture first.
    """

    picture: TarMember
    others: tuple[TarMember, ...] = ()
    texts: tuple[TarMember, ...] = ()


@dataclass
class TarSamples:
    """All samples of a tar file.

    Attributes:
        samples: in the order of their pictures.
        left_out: for each reason the names of the members that are in no sample.
        damage: what is wrong with the file; empty where it is whole.
    """

    samples: list[TarSample]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    damage: str = ""


def read_samples(place: str) -> TarSamples:
    """Find the samples of a tar file by its headers.

    Members belong together as in WebDataset where their file names are the same up to the first
    dot: `a/1.left.jpg` is a picture of the sample `a/1`, and `a/1.0.txt`, `a/1.1.txt` are texts of
    it. But names of pictures hold dots, too: those that have texts of their own, as `No. 1.jpg` and
    `No. 1.txt`, or nothing to belong to, as `No. 2.jpg`, are samples by themselves.

    Where a sample's members stand in the file does not matter. A name that comes again begins
    another sample, and so do the members of another archive that was joined to this one. What is
    hidden (`._1.jpg`, `__MACOSX/`) is passed over.

    Raises:
        DataError: if it is no tar file, or a compressed one.
        OSError: if it cannot be read.
    """
    found = read_members(place)
    samples = TarSamples([], damage=found.damage)
    for archive in found.archives:
        grouped = (
            sample for group in _groups(archive) for sample in _samples_of(group, samples.left_out)
        )
        samples.samples += sorted(grouped, key=lambda sample: sample.picture.number)
    for name, reason in found.unreadable.items():
        if not _is_hidden(name) and _suffix(name) in (*SEARCHED_SUFFIXES, *TEXT_SUFFIXES):
            samples.left_out.setdefault(reason, []).append(name)
    return samples


def _groups(archive: Sequence[TarMember]) -> Iterator[Sequence[TarMember]]:
    """Yield the members whose names are the same up to the first dot, each name once."""
    groups: dict[str, list[dict[str, TarMember]]] = {}
    for member in archive:
        if _is_hidden(member.name):
            continue
        folder, slash, file = member.name.rpartition("/")
        rounds = groups.setdefault(folder + slash + file.partition(".")[0], [{}])
        if member.name in rounds[-1]:
            rounds.append({})
        rounds[-1][member.name] = member
    for rounds in groups.values():
        yield from (list(members.values()) for members in rounds)


def _samples_of(group: Sequence[TarMember], left_out: dict[str, list[str]]) -> Iterator[TarSample]:
    """Yield the samples of members whose names are the same up to the first dot.

    What has a name with more dots belongs to what has one with less: a text to the picture, and a
    picture without a text of its own to the picture or text.
    """
    pictures: dict[str, list[TarMember]] = {}
    for member in group:
        if _suffix(member.name) in SEARCHED_SUFFIXES:
            pictures.setdefault(_stem(member.name), []).append(member)
    if not pictures:
        left_out.setdefault(NO_PICTURE, []).append(group[0].name)
        return
    # By the picture that they belong to; without one by their own name.
    texts: dict[str, list[TarMember]] = {}
    for member in group:
        if _suffix(member.name) in TEXT_SUFFIXES:
            stem = _stem(member.name)
            owner = next((name for name in _shortened(stem) if name in pictures), stem)
            texts.setdefault(owner, []).append(member)
    heads: dict[str, list[TarMember]] = {}
    for stem in sorted(pictures, key=len):
        known = (name for name in _shortened(stem) if name in heads or name in texts)
        heads.setdefault(next(known, stem), []).extend(pictures[stem])
    for head, members in heads.items():
        members.sort(key=lambda member: (_stem(member.name) != head, member.number))
        own = texts.pop(head, [])
        own.sort(key=lambda text: (text.name.lower().endswith(".json"), _stem(text.name) != head))
        yield TarSample(members[0], tuple(members[1:]), tuple(own))
    for members in texts.values():
        left_out.setdefault(NO_PICTURE, []).append(members[0].name)


def _shortened(stem: str) -> Iterator[str]:
    """Yield `a/1.left.0`, `a/1.left`, `a/1` of the first."""
    start = stem.rfind("/") + 1
    yield stem
    for _ in range(_MAX_DOTS):
        if (dot := stem.rfind(".", start)) <= start:
            return
        stem = stem[:dot]
        yield stem


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_hidden(name: str) -> bool:
    """Return whether a member is none of the user's: hidden, or kept by a system or program."""
    parts = name.split("/")
    return any(
        (part.startswith(".") and part not in (".", "..")) or part.partition(".")[0] in _OF_SYSTEMS
        for part in parts
    )


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard as arrays, which are small and quickly loaded.

    Attributes:
        places: int64 [rows, 2], first byte and number of bytes: of a sample's picture, its texts
            and its .json members, in this order.
        ends: int64 [samples, 3], the rows before which these three end.
        left_out: for each reason the number of members that are in no sample, and some names.
        damage: what is wrong with the file; empty where it is whole.
        with_text: bool [samples], whether a sample has a text; whether it has a member for one,
            where texts were not read.
        without_text: some names of pictures that have no text.
    """

    places: NDArray[np.int64]
    ends: NDArray[np.int64]
    with_text: NDArray[np.bool_]
    left_out: Mapping[str, tuple[int, Sequence[str]]] = field(default_factory=dict)
    damage: str = ""
    without_text: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ends)

    def picture(self, sample: int) -> tuple[int, int]:
        """Return the first byte and the number of bytes of a picture."""
        first, size = self.places[self.ends[sample, 0] - 1].tolist()
        return first, size

    def texts(self, sample: int, *, as_json: bool) -> list[tuple[int, int]]:
        """Return the same for each text of a sample, those that are JSON or the others."""
        first, end = self.ends[sample, int(as_json) : int(as_json) + 2]
        return [(start, size) for start, size in self.places[first:end].tolist()]

    def save(self, file: BinaryIO) -> None:
        """Write it."""
        left_out = json.dumps(self.left_out)
        np.savez(
            file,
            places=self.places,
            ends=self.ends,
            with_text=self.with_text,
            left_out=left_out,
            damage=self.damage,
            without_text=json.dumps(self.without_text),
        )

    @classmethod
    def load(cls, file: BinaryIO) -> "ShardIndex":
        """Read what `save` has written; raise ValueError or KeyError where it is something else."""
        with np.load(file, allow_pickle=False) as kept:
            left_out, names = (json.loads(str(kept[key])) for key in ("left_out", "without_text"))
            places, ends, with_text = (kept[key] for key in ("places", "ends", "with_text"))
            return cls(places, ends, with_text, left_out, str(kept["damage"]), names)


def scan(path: Path, columns: Columns | None = None) -> ShardIndex:
    """Find the samples of a tar file by its headers, as `read_samples` does.

    Args:
        path: of the tar file.
        columns: of .json members; where given, texts are read, and those that are blank or broken
            count as none.

    Raises:
        DataError: if it is no tar file, or a compressed one.
    """
    found = read_samples(str(path))
    places: list[tuple[int, int]] = []
    ends = []
    for sample in found.samples:
        places += ((each.offset, each.size) for each in (sample.picture, *sample.texts))
        json_texts = sum(_suffix(text.name) == ".json" for text in sample.texts)
        ends.append((len(places) - len(sample.texts), len(places) - json_texts, len(places)))
    left_out = {reason: (len(names), names[:MAX_NAMED]) for reason, names in found.left_out.items()}
    others = [other.name for sample in found.samples for other in sample.others]
    if others:
        left_out[OTHERS] = (len(others), others[:MAX_NAMED])
    with_text = np.array([any(text.size for text in one.texts) for one in found.samples], bool)
    if columns:
        broken: list[str] = []
        with open_regular(path) as file:
            for number in np.flatnonzero(with_text):
                with_text[number] = _has_text(file, found.samples[number], columns, broken)
        if broken:
            left_out[BROKEN] = (len(broken), broken[:MAX_NAMED])
    without_text = [found.samples[i].picture.name for i in np.flatnonzero(~with_text)[:MAX_NAMED]]
    return ShardIndex(
        np.array(places, np.int64).reshape(-1, 2),
        np.array(ends, np.int64).reshape(-1, 3),
        with_text,
        left_out,
        found.damage,
        without_text,
    )


def _has_text(file: BinaryIO, sample: TarSample, columns: Columns, broken: list[str]) -> bool:
    """Return whether a sample has a text; add the names of its broken members to `broken`."""
    contents: tuple[list[bytes], list[bytes]] = [], []
    names = []
    for member in sample.texts:
        file.seek(member.offset)
        is_json = _suffix(member.name) == ".json"
        contents[is_json].append(file.read(member.size))
        names += [member.name] * is_json
    found = read_texts(*contents, columns)
    broken += (names[number] for number in found.broken)
    return bool(found)
