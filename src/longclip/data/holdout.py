"""Pictures held out of training, to be measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.data.captions import Captions, TextPolicy
from longclip.data.collection import Collection
from longclip.data.mixture import Joined, Mixture, MixtureSource
from longclip.errors import UsageError
from longclip.util.digest import Digest

HELD_OUT = "held-out"
"""Name of the pictures that are held out, in measurements."""

_LEAST = 2
"""Pictures that are held out at least; among one alone every text finds it."""

_BLOCKS = 8
"""Blocks, such as shards, that pictures are held out of: all of these are fetched to measure."""


class Subset(Collection):
    """Some items of a collection, in its order.

    Args:
        whole: the collection.
        items: int64, which, rising.
    """

    def __init__(self, whole: Collection, items: NDArray[np.int64]) -> None:
        self.name, self.origins, self.problems = whole.name, whole.origins, whole.problems
        self.missing = whole.missing
        self._whole, self._items = whole, items
        self.absent = np.flatnonzero(np.isin(items, np.asarray(whole.absent))).tolist()

    def __len__(self) -> int:
        return len(self._items)

    def image(self, index: int) -> Image.Image:
        """Return the decoded picture."""
        return self._whole.image(int(self._items[index]))

    def image_file(self, index: int) -> bytes | None:
        """Return the image file as it is."""
        return self._whole.image_file(int(self._items[index]))

    def key(self, index: int) -> str:
        """Return the name for the content of the picture."""
        return self._whole.key(int(self._items[index]))

    def captions(self, index: int) -> Captions:
        """Return the texts of the picture."""
        return self._whole.captions(int(self._items[index]))

    def policy_of(self, index: int, policy: TextPolicy) -> TextPolicy:
        """Return what the collection makes of a run's policy."""
        return self._whole.policy_of(int(self._items[index]), policy)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the whole collection's fingerprint, and of which items these are.

        So other data, or other pictures held out of the same, are another training.
        """
        digest = Digest()
        digest.add(self._whole.fingerprint())
        digest.add_bytes(self._items.astype("<i8").tobytes())
        return digest.hexdigest()

    def picture_hashes(self) -> Sequence[int]:
        """Return the hashes of these items' pictures."""
        hashes = self._whole.picture_hashes()
        return [hashes[item] for item in self._items.tolist()] if hashes else ()

    def blocks(self) -> Sequence[range]:
        """Return what is left of each block of the collection, if anything."""
        ends = [(block.start, block.stop) for block in self._whole.blocks()]
        places = np.searchsorted(self._items, np.array(ends, np.int64).reshape(-1, 2)).tolist()
        return [range(start, stop) for start, stop in places if start < stop]


@dataclass(frozen=True)
class Holdout:
    """Data divided into what is trained on, and what is measured on.

    Attributes:
        training: with the sources, weights and text policies of the whole.
        held: of all sources.
    """

    training: Mixture
    held: Collection


def hold_out(whole: Mixture, wanted: float, *, seed: int, limit: int = 0) -> Holdout:
    """Choose pictures to be held out: a pure function of the data and the seed.

    Equal pictures of several sources, as far as they are known (`Collection.picture_hashes`), stay
    together. Of data in blocks all are from a few blocks. A picture that is not there is not held
    out.

    Args:
        whole: the data.
        wanted: how many pictures, or below 1 which share of them.
        seed: of the choice.
        limit: only these first items are used, and held out of; all where 0.

    Raises:
        UsageError: if fewer than two pictures would be held out, or none left.
    """
    total = min(len(whole), limit) if limit else len(whole)
    count = round(wanted * total) if wanted < 1 else int(wanted)
    if not _LEAST <= count < total:
        raise UsageError(
            f"--holdout {wanted:g} of {total:,} pictures is {count:,}: at least {_LEAST} are held "
            "out, and some stay to be trained on; take another number, or more data"
        )
    random = np.random.default_rng((seed, 4))
    candidates = np.ones(total, np.bool_)
    candidates[[item for item in whole.absent if item < total]] = False
    blocks = [range(block.start, min(block.stop, total)) for block in whole.blocks()]
    if blocks:
        chosen, near = 0, np.zeros(total, np.bool_)
        for number, place in enumerate(random.permutation(len(blocks))):
            if number >= _BLOCKS and chosen >= count:
                break
            near[blocks[place].start : blocks[place].stop] = True
            chosen = int((near & candidates).sum())
        candidates &= near
    kind = np.array(whole.picture_numbers(), np.int64)
    order = random.permutation(np.flatnonzero(candidates))[:count]
    held = np.isin(kind, kind[order])
    held[total:] = False
    found = int(held.sum())
    if not _LEAST <= found < total:
        raise UsageError(
            f"--holdout {wanted:g}: {found:,} of {total:,} pictures can be held out, without those "
            f"that are not there and with the equal ones of other sources; at least {_LEAST} are "
            "needed, and some to train on"
        )
    kept, taken = [], []
    start = 0
    for part, size in whole.collections():
        of_part = held[start : start + size]
        kept.append(Subset(part, np.flatnonzero(~of_part)))
        taken.append(Subset(part, np.flatnonzero(of_part)))
        start += size
    sources = [MixtureSource(p.name, weight=p.weight, texts=p.texts) for p in whole.parts]
    together = Joined([part for part in taken if len(part)])
    together.name = HELD_OUT
    return Holdout(Mixture(sources, kept), together)
