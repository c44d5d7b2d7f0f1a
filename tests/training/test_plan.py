"""The order of batches."""

from collections import Counter
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from longclip.data.mixture import Part, PolicyChange
from longclip.training.plan import WINDOW, Plan, make_plan, shuffled


def parts_of(sizes: list[int], weights: list[float] | None = None) -> list[Part]:
    ends = list(accumulate(sizes))
    starts = [0, *ends[:-1]]
    given = weights or [None] * len(sizes)
    return [
        Part("photos", *bounds, PolicyChange()) for bounds in zip(starts, ends, given, strict=True)
    ]


def blocks_of(sizes: list[int]) -> list[range]:
    return [range(part.start, part.stop) for part in parts_of(sizes)]


def plan(items: int, batch: int, steps: int, seed: int = 0, **more: object) -> Plan:
    return make_plan(
        items=items,
        batch_size=batch,
        epochs=0,
        steps=steps,
        seed=seed,
        **more,  # type: ignore[arg-type]
    )


SOURCES = st.lists(
    st.tuples(st.integers(5, 40), st.floats(0.1, 9).map(lambda w: round(w, 2))),
    min_size=1,
    max_size=4,
)


@given(st.integers(2, 60), st.integers(2, 9), st.integers(0, 2**70), st.integers(1, 40))
def test_one_source_keeps_the_order_it_always_had(
    items: int, batch: int, seed: int, steps: int
) -> None:
    assume(items >= batch)
    expected, epoch = list[list[tuple[int, int]]](), 0
    while len(expected) < steps:
        order = np.random.default_rng((seed, epoch)).permutation(items)
        whole = items // batch
        expected += [[(epoch, i) for i in order[n * batch :][:batch]] for n in range(whole)]
        epoch += 1
    assert list(plan(items, batch, steps, seed).batches(0)) == expected[:steps]
    unweighted = plan(items, batch, steps, seed, sources=parts_of([1, items - 1]))
    assert list(unweighted.batches(0)) == expected[:steps]


@given(SOURCES, st.integers(2, 12), st.integers(0, 9), st.integers(0, 30), st.booleans())
def test_a_plan_can_be_entered_anywhere(
    sources: list[tuple[int, float]], batch: int, seed: int, first: int, blocked: bool
) -> None:
    sizes, weights = [s for s, _ in sources], [w for _, w in sources]
    made = _mixture(sizes, weights, batch, seed=seed, blocked=blocked)
    whole = list(made.batches(0))
    assert list(made.batches(first)) == whole[first:]


@given(SOURCES, st.integers(2, 12), st.integers(0, 9))
def test_every_source_gives_its_share_from_passes_of_its_own(
    sources: list[tuple[int, float]], batch: int, seed: int
) -> None:
    sizes, weights = [s for s, _ in sources], [w for _, w in sources]
    made = _mixture(sizes, weights, batch, seed=seed)
    for number, part in enumerate(parts_of(sizes, weights)):
        given_, seen, passes = 0, Counter[tuple[int, int]](), list[int]()
        share = batch * weights[number] / sum(weights)
        # Weights are rounded to one part in 10,000.
        ahead = 0.5 + len(sizes) / 2 * share / batch + 60 * batch * len(sizes) / 10_000
        for step, keys in enumerate(made.batches(0), 1):
            own = [key for key in keys if part.start <= key[1] < part.stop]
            given_ += len(own)
            seen.update(own)
            passes += [epoch for epoch, _ in own]
            assert abs(given_ - step * share) < ahead
            assert len({index for _, index in own}) == len(own)
        assert set(seen.values()) <= {1}, "an item comes once in a pass"
        assert sorted(passes) == passes
        whole = Counter(passes[: passes.index(passes[-1])]) if passes else {}
        assert all(n > part.stop - part.start - 4 * ahead - share for n in whole.values())
    assert all(len(keys) == batch for keys in made.batches(0))


def _mixture(
    sizes: list[int], weights: list[float], batch: int, *, seed: int, blocked: bool = False
) -> Plan:
    items = sum(sizes)
    assume(items >= batch)
    blocks = [b for part in parts_of(sizes) for b in _halves(part)] if blocked else []
    try:
        return plan(items, batch, 60, seed, sources=parts_of(sizes, weights), blocks=blocks)
    except ValueError:
        assume(False)
        raise


def _halves(part: Part) -> list[range]:
    middle = (part.start + part.stop) // 2
    return [range(part.start, middle), range(middle, part.stop)]


def test_rows_of_a_batch_are_mixed() -> None:
    made = plan(100, 20, 50, sources=parts_of([50, 50], [1, 1]))
    first_halves = [sum(index < 50 for _, index in keys[:10]) for keys in made.batches(0)]
    assert 3 < np.mean(first_halves) < 7
    assert len(set(first_halves)) > 3


def test_seeds_and_sources_have_orders_of_their_own() -> None:
    steps = list(plan(200, 10, 10, sources=parts_of([100, 100], [1, 1])).batches(0))
    one = [{index for _, index in keys if index < 100} for keys in steps]
    two = [{index - 100 for _, index in keys if index >= 100} for keys in steps]
    assert {len(chosen) for chosen in one + two} == {5}
    assert one != two
    assert list(plan(20, 4, 60, 1).batches(0)) != list(plan(20, 4, 60, 2).batches(0))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(0, 5))
def test_items_of_few_blocks_at_a_time(sizes: list[int], seed: int) -> None:
    blocks = blocks_of(sizes)
    order = shuffled(range(sum(sizes)), blocks, (seed,)).tolist()
    assert sorted(order) == list(range(sum(sizes)))
    met = [[place for place, index in enumerate(order) if index in block] for block in blocks]
    for place in range(len(order)):
        assert sum(min(where) <= place <= max(where) for where in met) <= WINDOW + 1


def test_blocks_are_mixed_and_come_in_another_order_in_every_pass() -> None:
    blocks = blocks_of([20] * 32)
    made = plan(640, 40, 32, blocks=blocks)
    steps = [[index // 20 for _, index in keys] for keys in made.batches(0)]
    assert all(WINDOW / 2 - 1 < len(set(owners)) <= WINDOW + 4 for owners in steps)
    assert steps[0] != steps[16]


def test_one_block_after_the_other_is_opened() -> None:
    order = shuffled(range(20_000), blocks_of([500] * 40), (0,))
    opened = [int(np.flatnonzero(order // 500 == block)[0]) for block in range(40)]
    gaps = np.diff(sorted(opened))[WINDOW:]
    assert gaps.min() > 300
    assert gaps.max() < 700


def test_a_limit_cuts_blocks() -> None:
    made = plan(25, 5, 5, blocks=blocks_of([10, 10, 10]))
    assert made.blocks == (range(10), range(10, 20), range(20, 25))
    assert sorted(index for keys in made.batches(0) for _, index in keys) == list(range(25))


def test_an_epoch_is_as_many_pairs_as_there_are_items() -> None:
    for sources in ([], parts_of([30, 70], [9, 1])):
        made = make_plan(items=100, batch_size=8, epochs=2.5, steps=0, seed=0, sources=sources)
        assert (made.steps_per_epoch, made.total_steps) == (12, 30)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"items": 3, "batch": 4}, "the data has 3 items, fewer than one batch of 4"),
        (
            {"items": 13, "batch": 8, "sources": parts_of([10, 3], [1, 1])},
            "photos has 3 items, too few for its share of a batch of 8, 4; give it a smaller",
        ),
        (
            {"items": 12, "batch": 4, "sources": parts_of([10, 10], [1, 1])},
            "--limit would take the first items of a weighted mixture",
        ),
    ],
)
def test_plans_that_cannot_be(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(**arguments, steps=1)  # type: ignore[arg-type]
