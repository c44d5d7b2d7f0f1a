"""Which items make up which step: a pure function of (seed, epoch), so that resuming is exact."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """The order of all batches of a run.

    Args:
        items: how many there are.
        batch_size: pairs per step; the incomplete batch at an epoch's end is left out, its items
            come at other places in other epochs.
        total_steps: when the run ends.
        seed: of the order.
    """

    items: int
    batch_size: int
    total_steps: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the items."""
        return self.items // self.batch_size

    def batches(self, first_step: int) -> Iterator[list[tuple[int, int]]]:
        """(epoch, index) of each pair of each step from `first_step` on."""
        epoch, offset = divmod(first_step, self.steps_per_epoch)
        step = first_step
        while step < self.total_steps:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.items)
            for batch in range(offset, self.steps_per_epoch):
                if step == self.total_steps:
                    return
                start = batch * self.batch_size
                yield [(epoch, int(i)) for i in order[start : start + self.batch_size]]
                step += 1
            epoch, offset = epoch + 1, 0


def make_plan(*, items: int, batch_size: int, epochs: float, steps: int, seed: int) -> Plan:
    """Plan a run by steps, or where they are 0 by epochs.

    Raises:
        ValueError: if there are fewer items than one batch takes.
    """
    if items < batch_size:
        raise ValueError(
            f"the data has {items} items, fewer than one batch of {batch_size}; "
            "take a smaller --batch-size or more data"
        )
    total = steps or max(1, math.ceil(epochs * (items // batch_size)))
    return Plan(items, batch_size, total, seed)
