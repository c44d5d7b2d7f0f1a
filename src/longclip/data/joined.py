"""Several collections as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from PIL import Image

from longclip.data.collection import (
    Captions,
    Collection,
    LabelSet,
    blocks_of,
    image_file_of,
    problems_of,
)


class Joined:
    """Several collections one after the other.

    Args:
        parts: the collections.
        sizes: how many of the first items of each to take; all where None.

    Attributes:
        missing: how many rows or samples the parts have left out.
        problems: what the parts say of that.
    """

    def __init__(self, parts: Sequence[Collection], sizes: Sequence[int] | None = None) -> None:
        assert parts
        self.name = " + ".join(part.name for part in parts)
        self.problems = tuple(
            f"{part.name}: {line}" if len(parts) > 1 else line
            for part in parts
            for line in problems_of(part)
        )
        self.missing = sum(getattr(part, "missing", 0) for part in parts)
        self._parts = parts
        self._ends = list(accumulate(sizes or map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def image(self, index: int) -> Image.Image:
        """The picture of the part that holds this index."""
        part, inner = self._find(index)
        return part.image(inner)

    def image_file(self, index: int) -> bytes | None:
        """That of the part that holds this index."""
        part, inner = self._find(index)
        return image_file_of(part, inner)

    def key(self, index: int) -> str:
        """That of the part that holds this index."""
        part, inner = self._find(index)
        return part.key(inner)

    def captions(self, index: int) -> Captions:
        """The texts of the part that holds this index."""
        part, inner = self._find(index)
        return part.captions(inner)

    def label_sets(self) -> Sequence[LabelSet]:
        """None: classes of different collections are different tasks."""
        return ()

    def blocks(self) -> Sequence[range]:
        """The blocks of all parts; a part without any is cut into such of the others' mean size."""
        per_part = [
            [range(b.start, min(b.stop, stop - start)) for b in blocks_of(part)]
            for part, (start, stop) in zip(self._parts, self._bounds(), strict=True)
        ]
        given = [len(block) for blocks in per_part for block in blocks if block]
        if not given:
            return ()
        size = max(1, sum(given) // len(given))
        return [
            range(start + block.start, start + block.stop)
            for blocks, (start, stop) in zip(per_part, self._bounds(), strict=True)
            for block in blocks or _cut(stop - start, size)
            if block
        ]

    def _bounds(self) -> list[tuple[int, int]]:
        return list(pairwise([0, *self._ends]))

    def _find(self, index: int) -> tuple[Collection, int]:
        place = bisect_right(self._ends, index)
        start = self._ends[place - 1] if place else 0
        return self._parts[place], index - start


def join(parts: Sequence[Collection]) -> Collection:
    """One collection out of one or more."""
    return parts[0] if len(parts) == 1 else Joined(parts)


def _cut(items: int, size: int) -> list[range]:
    return [range(start, min(start + size, items)) for start in range(0, items, size)]
