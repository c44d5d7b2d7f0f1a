"""Order of items over steps: a pure function of (seed, epoch), so that resuming is exact.

Where items come in groups, these belong to what it is a function of.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longclip.data.collection import Collection
from longclip.data.mixture import Mixture, Part
from longclip.errors import UsageError
from longclip.training.config import TrainConfig

Key = tuple[int, int]
"""(epoch, index) of a pair: the pass over the data, or over its own source, and the item."""

WINDOW = 8
"""Blocks whose items are mixed, and so about how many shards are read at a time."""

CYCLE = 10_000
"""Pairs after which weights are met exactly; they are rounded to one part in so many."""


@dataclass(frozen=True)
class Groups:
    """Items in groups that come in a batch together.

    Attributes:
        members: int64 [groups, items of a group].
        spare: int64, items for which there was no whole group.
    """

    members: NDArray[np.int64]
    spare: NDArray[np.int64]

    @property
    def items(self) -> NDArray[np.int64]:
        """All items, rising."""
        return np.sort(np.concatenate([self.members.ravel(), self.spare]))

    def shuffled(self, seed: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the items of one pass, group after group, as many as whole groups have.

        As many as are spare are left out, any of all items: a spare one that stays takes the place
        of one that does not.
        """
        random = np.random.default_rng(seed)
        order = random.permuted(random.permutation(self.members), axis=1).ravel()
        grouped = len(order)
        out = random.choice(grouped + len(self.spare), len(self.spare), replace=False)
        order[out[out < grouped]] = np.delete(self.spare, out[out >= grouped] - grouped)
        return order


@dataclass(frozen=True)
class GroupedPasses:
    """Groups that hold from one step on.

    Attributes:
        step: before which they were made.
        rest: of the items that were left of the pass then under way; None at its first step.
        whole: of all items, for later passes; None where none was to come.
    """

    step: int
    rest: Groups | None
    whole: Groups | None


@dataclass(frozen=True)
class Plan:
    """Order of all batches of a run.

    Without weights a step takes the next items of one shuffled pass over all of them. With weights
    it takes from each source its share: after any number of steps each has given what its weight
    says to within a few pairs, and goes through its own items in passes of its own, whose number
    is the epoch of their keys.

    Args:
        items: how many there are.
        batch_size: pairs per step; the incomplete batch at the end of a pass is left out, its
            items come at other places in other passes. No step has an item twice.
        total_steps: when the run ends.
        seed: of the order.
        blocks: items that are read together (see `longclip.data.Collection.blocks`); they are
            shuffled, and items come from about `WINDOW` of them at a time.
        sources: parts of the data with weights; empty where there are none.
        grouped: the groups that items come in; None where each comes by itself.
    """

    items: int
    batch_size: int
    total_steps: int
    seed: int
    blocks: tuple[range, ...] = ()
    sources: tuple[Part, ...] = ()
    grouped: GroupedPasses | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps that take as many pairs as there are items, rounded down."""
        return self.items // self.batch_size

    def batches(self, first_step: int, end: int | None = None) -> Iterator[list[Key]]:
        """Yield the keys of each step from `first_step` to before `end`; None: that of the run."""
        # Every order comes from a generator of its own, named by the seed, a digit for its purpose,
        # and the pass or step, and none from one that runs along: a run that is resumed at step n,
        # with any number of processes, goes on as if it had made the steps before.
        steps = range(first_step, self.total_steps if end is None else end)
        if self.sources:
            streams = self.streams()
            for step in steps:
                keys = [key for stream in streams for key in stream.keys(step)]
                # A process, or a part of the batch with a PCA of its own, takes a slice of the
                # rows, which should have some of all sources.
                rows = np.random.default_rng((self.seed, 3, step)).permutation(len(keys))
                yield [keys[row] for row in rows]
            return
        pass_drawn, begin, order = -1, 0, np.empty(0, np.int64)
        for step in steps:
            epoch = step // self.steps_per_epoch
            if epoch != pass_drawn:
                begin, order = self._order(step)
                pass_drawn = epoch
            start = (step - begin) * self.batch_size
            yield [(epoch, int(i)) for i in order[start : start + self.batch_size]]

    def _order(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """Return the step from which the pass of this one has its order, and that order."""
        epoch = step // self.steps_per_epoch
        begin = epoch * self.steps_per_epoch
        if self.grouped is None:
            return begin, shuffled(range(self.items), self.blocks, (self.seed, epoch))
        begin = max(begin, self.grouped.step)
        return begin, self._groups(step).shuffled((self.seed, 6, begin))

    def _groups(self, step: int) -> Groups:
        """Return the groups that the pass of this step goes through."""
        assert self.grouped is not None
        assert step >= self.grouped.step
        under_way = step // self.steps_per_epoch == self.grouped.step // self.steps_per_epoch
        found = self.grouped.rest if under_way and self.grouped.rest else self.grouped.whole
        assert found is not None, "these groups are of an earlier pass"
        return found

    def left(self, step: int) -> NDArray[np.int64]:
        """Return the items that a pass of groups has not given before this step, rising."""
        if self.grouped is None or step % self.steps_per_epoch == 0:
            return np.arange(self.items)
        begin, order = self._order(step)
        given = order[: (step - begin) * self.batch_size]
        return np.setdiff1d(self._groups(step).items, given, assume_unique=True)

    def streams(self) -> "list[_Stream]":
        """Return what each source gives to the steps.

        Raises:
            UsageError: if a source has fewer items than its share of a batch.
        """
        turns = _turns([source.weight or 0.0 for source in self.sources])
        return [
            _Stream(self, source, number, turns == number)
            for number, source in enumerate(self.sources)
        ]


class _Stream:
    """Items that one source gives to each step.

    Args:
        plan: of the run.
        source: with a weight.
        number: of the source.
        turns: bool [CYCLE], which pairs of a cycle are from this source.
    """

    def __init__(self, plan: Plan, source: Part, number: int, turns: NDArray[np.bool_]) -> None:
        self._batch_size = plan.batch_size
        self._seed = (plan.seed, 2, number)
        self._items = range(source.start, source.stop)
        self._blocks = _within(plan.blocks, self._items)
        self._order: tuple[int, NDArray[np.int64]] | None = None
        # Of the first i pairs of a cycle, so many are from here.
        self._given_in_cycle = np.concatenate([[0], np.cumsum(turns)])
        # A pass takes as many whole steps as are sure not to need more items than there are: an
        # item that came twice in a batch would be its own negative. At either end of the pass the
        # source can be ahead of or behind its share by as many pairs as `_turns` says.
        weight = turns.mean()
        sure = len(self._items) - 2 * (0.5 + weight * len(plan.sources) / 2)
        self._steps_per_pass = math.floor(sure / (weight * plan.batch_size))
        if self._steps_per_pass < 1:
            raise UsageError(
                f"{source.name} has {len(self._items)} items, too few for its share of a batch of "
                f"{plan.batch_size}, {weight * plan.batch_size:.3g}; give it a smaller weight, or "
                "take a smaller --batch-size"
            )

    def keys(self, step: int) -> list[Key]:
        """Return the keys of this source in a step."""
        number, inner = divmod(step, self._steps_per_pass)
        before = self._given(step - inner)
        if self._order is None or self._order[0] != number:
            self._order = (number, shuffled(self._items, self._blocks, (*self._seed, number)))
        chosen = self._order[1][self._given(step) - before : self._given(step + 1) - before]
        return [(number, int(index)) for index in chosen]

    def _given(self, step: int) -> int:
        """Return how many it gives before this step."""
        cycles, pairs = divmod(step * self._batch_size, CYCLE)
        return cycles * int(self._given_in_cycle[-1]) + int(self._given_in_cycle[pairs])


def _turns(weights: Sequence[float]) -> NDArray[np.int64]:
    """Return the source of each pair of a cycle, int64 [CYCLE]; each as evenly as can be."""
    # The pairs of a source stand in the middles of equal parts of the cycle, and so take their
    # turns. Until a point x of it (from 0 to 1) a source with n pairs has had n · x to within a
    # half. With K sources all have had K / 2 pairs more or fewer than x says, of which a source
    # with the share w has w · K / 2: so it is never further from its share than 1/2 + w · K / 2.
    shares = np.asarray(weights) / sum(weights)
    counts = np.maximum(1, np.rint(shares * CYCLE).astype(np.int64))
    counts[counts.argmax()] += CYCLE - counts.sum()
    places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    turns: NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)[
        np.argsort(places, kind="stable")
    ]
    return turns


def shuffled(items: range, blocks: Sequence[range], seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Return one pass's items in random order, int64; of few blocks at a time where there are some.

    Args:
        items: of the pass.
        blocks: what is read together, such as shards; must make up all of `items`, or be empty.
        seed: numbers that name the order.
    """
    random = np.random.default_rng(seed)
    if not blocks:
        return random.permutation(len(items)) + items.start
    # The blocks are put in random order. Items of the one at place b come anywhere from (WINDOW −
    # 1) / 2 places before it until as many after it. So one block after the other comes and goes,
    # and fetching a new one goes on beside the reading of others: were all blocks wanted from the
    # start, or all of one and then all of the next, the run would wait for each.
    assert sum(map(len, blocks)) == len(items), "blocks do not make up the items"
    turns = [blocks[i] for i in random.permutation(len(blocks))]
    place = np.repeat(np.arange(len(turns)), [len(block) for block in turns])
    beside = (WINDOW - 1) / 2
    first, last = np.maximum(0, place - beside), np.minimum(len(turns), place + 1 + beside)
    when = first + (last - first) * random.random(len(items))
    order: NDArray[np.int64] = np.concatenate([np.arange(b.start, b.stop) for b in turns])
    return order[np.argsort(when, kind="stable")]


def make_plan(
    *,
    items: int,
    batch_size: int,
    epochs: float,
    steps: int,
    seed: int,
    blocks: Sequence[range] = (),
    sources: Sequence[Part] = (),
) -> Plan:
    """Plan a run by steps, or where they are 0 by epochs.

    An epoch takes as many pairs as there are items. With weights that is no pass over each of
    them: a source with more than its share of the weight comes more than once, another in part,
    and in later epochs its other items.

    Args:
        items: how many of the first items of the data to use.
        batch_size: see `Plan`, also for `seed`.
        epochs: passes.
        steps: in place of `epochs`.
        seed: of the order.
        blocks: items that are read together; what is beyond `items` is left out.
        sources: the parts of the data. Where they have no weights, they are as one.

    Raises:
        ValueError: if there are fewer items than one batch takes, a source has fewer than its
            share of one, or only a part of a weighted mixture is to be used.
    """
    if items < batch_size:
        raise UsageError(
            f"the data has {items} items, fewer than one batch of {batch_size}; "
            "take a smaller --batch-size or more data"
        )
    weighted = tuple(sources) if len(sources) > 1 and sources[0].weight is not None else ()
    if weighted and items != weighted[-1].stop:
        raise UsageError(
            "--limit would take the first items of a weighted mixture, which are all of one "
            "source; give each [[source]] a limit of its own"
        )
    total = steps or max(1, math.ceil(epochs * (items // batch_size)))
    plan = Plan(items, batch_size, total, seed, _within(blocks, range(items)), weighted)
    if weighted:
        plan.streams()  # a source that is too small fails now, not at its turn
    return plan


def _within(blocks: Sequence[range], items: range) -> tuple[range, ...]:
    """Return what of the blocks lies within `items`."""
    cut = (range(max(b.start, items.start), min(b.stop, items.stop)) for b in blocks)
    return tuple(block for block in cut if block)


def plan_of(config: TrainConfig, collection: Collection, held_out: int = 0) -> Plan:
    """Plan a run over a collection, with the weights of a mixture.

    Args:
        config: of the run.
        collection: what is trained on.
        held_out: how many of the first items of the data, as its limit counts, are not in it.

    Raises:
        UsageError: if there are too few items, or groups are wanted where the order is not free.
    """
    items = min(len(collection), config.limit - held_out) if config.limit else len(collection)
    if held_out and items < config.batch_size:
        raise UsageError(
            f"--holdout {config.holdout:g} leaves {items:,} pictures to train on, fewer than one "
            f"batch of {config.batch_size}; hold out fewer, or take a smaller --batch-size"
        )
    plan = make_plan(
        items=items,
        batch_size=config.batch_size,
        epochs=config.epochs,
        steps=config.steps,
        seed=config.seed,
        blocks=collection.blocks(),
        sources=collection.parts if isinstance(collection, Mixture) else (),
    )
    if config.neighbours and plan.blocks:
        raise UsageError(
            "--neighbours takes items in any order, and those of tar shards are read shard by "
            "shard; unpack them into a folder or a table, or leave it out"
        )
    if config.neighbours and plan.sources:
        raise UsageError(
            "--neighbours puts together what is alike in all sources, so that none has a share of "
            "each batch; take the weights out of the mixture, or leave it out"
        )
    return plan
