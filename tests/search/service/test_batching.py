"""The thread that embeds."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from longclip.search.service.batching import BatchDone, Batcher, Closed
from tests.helpers.service import PATIENCE, until

Vectors = NDArray[np.float32]


class Slow:
    """Embeds numbers as (number, its square), one batch each time it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> Vectors:
        self.batches.append(list(items))
        self.entered.release()
        assert self.allowed.acquire(timeout=PATIENCE)
        if any(item < 0 for item in items):
            raise ValueError(f"poison in {list(items)}")
        return embedded(items)


def embedded(items: Sequence[int]) -> Vectors:
    return np.array([(item, item * item) for item in items], np.float32)


@contextmanager
def running(
    embed: Callable[[Sequence[int]], Vectors], batch_tokens: int, **options: object
) -> Iterator[Batcher[int]]:
    batcher = Batcher(embed, lambda item: abs(item), batch_tokens=batch_tokens, **options)  # type: ignore[arg-type]
    batcher.start()
    try:
        yield batcher
    finally:
        if isinstance(embed, Slow):
            embed.allowed.release(1000)
        batcher.close()


def held_up(slow: Slow, batcher: Batcher[int]) -> "Future[Vectors]":
    """A request that the model is busy with, so that what follows waits."""
    future = batcher.submit([1])
    assert slow.entered.acquire(timeout=PATIENCE)
    return future


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=9), min_size=1, max_size=12),
    st.integers(1, 60),
)
def test_everybody_gets_their_own_in_order(requests: list[list[int]], budget: int) -> None:
    done: list[BatchDone] = []
    with running(embedded, budget, on_batch=done.append) as batcher:
        futures = [batcher.submit(request) for request in requests]
        for request, future in zip(requests, futures, strict=True):
            assert np.array_equal(future.result(timeout=30), embedded(request))
    assert sum(batch.items for batch in done) == sum(map(len, requests))
    assert all(batch.tokens <= budget or batch.items == 1 for batch in done)
    assert batcher.waiting_tokens == batcher.waiting_requests == 0


def test_many_threads_lose_nothing() -> None:
    with running(embedded, 50, wait=0.001) as batcher, ThreadPoolExecutor(16) as clients:

        def ask(number: int) -> bool:
            items = [1 + (number * 7 + i) % 40 for i in range(1 + number % 5)]
            return np.array_equal(batcher.submit(items).result(timeout=30), embedded(items))

        assert all(clients.map(ask, range(400)))


def test_what_waits_shares_a_batch() -> None:
    slow = Slow()
    with running(slow, 100) as batcher:
        held_up(slow, batcher)
        futures = [batcher.submit([2, 3]) for _ in range(5)]
        slow.allowed.release(2)
        for future in futures:
            future.result(timeout=30)
    assert slow.batches == [[1], [2] * 5 + [3] * 5]


def test_an_idle_model_waits_a_moment_for_company() -> None:
    batches: list[BatchDone] = []
    with running(embedded, 2, wait=60, on_batch=batches.append) as batcher:
        futures = [batcher.submit([1]), batcher.submit([1])]
        for future in futures:
            future.result(timeout=30)  # not after 60 s: the batch is full
    assert [batch.items for batch in batches] == [2]


def test_a_small_request_does_not_stand_behind_a_large_one() -> None:
    slow = Slow()
    with running(slow, 10) as batcher:
        held_up(slow, batcher)
        large = batcher.submit([5] * 100)
        small = batcher.submit([3])
        slow.allowed.release(2)
        assert np.array_equal(small.result(timeout=30), embedded([3]))
        assert not large.done()


def test_a_cancelled_request_blocks_nobody_and_is_not_embedded() -> None:
    slow = Slow()
    with running(slow, 10) as batcher:
        held_up(slow, batcher)
        given_up = batcher.submit([7] * 50)
        other = batcher.submit([3])
        assert given_up.cancel()
        slow.allowed.release(2)
        assert np.array_equal(other.result(timeout=30), embedded([3]))
        with pytest.raises(CancelledError):
            given_up.result(timeout=30)
    assert slow.batches == [[1], [3]]
    assert batcher.waiting_tokens == 0


def test_a_request_may_be_cancelled_half_way() -> None:
    slow = Slow()
    with running(slow, 10) as batcher:
        half_way = batcher.submit([10, 9])
        assert slow.entered.acquire(timeout=PATIENCE)
        assert half_way.cancel()
        later = batcher.submit([4])
        slow.allowed.release(2)
        assert np.array_equal(later.result(timeout=30), embedded([4]))
    assert slow.batches == [[10], [4]]


def test_an_item_that_cannot_be_embedded_spoils_no_other_request() -> None:
    slow = Slow()
    slow.allowed.release(1000)
    with running(slow, 1000, wait=0.05) as batcher:
        futures = [batcher.submit(items) for items in ([2, 3], [4, -5, -6, 7], [8])]
        assert np.array_equal(futures[0].result(timeout=30), embedded([2, 3]))
        assert np.array_equal(futures[2].result(timeout=30), embedded([8]))
        with pytest.raises(ValueError, match="poison in"):
            futures[1].result(timeout=30)
        assert np.array_equal(batcher.submit([9]).result(timeout=30), embedded([9]))


def test_closing_finishes_what_was_accepted_and_takes_nothing_new() -> None:
    slow = Slow()
    with running(slow, 1) as batcher:
        futures = [batcher.submit([1, 1]) for _ in range(10)]
        closing = threading.Thread(target=batcher.close)
        closing.start()
        until(lambda: not batcher.alive)
        with pytest.raises(Closed):
            batcher.submit([1])
        slow.allowed.release(1000)
        closing.join(timeout=30)
        assert all(
            np.array_equal(future.result(timeout=30), embedded([1, 1])) for future in futures
        )


def test_expected_wait_follows_what_waits() -> None:
    slow = Slow()
    with running(slow, 10) as batcher:
        assert batcher.expected_wait() == 0
        slow.allowed.release()
        batcher.submit([5]).result(timeout=30)
        assert slow.entered.acquire(timeout=PATIENCE)
        held_up(slow, batcher)
        batcher.submit([10] * 3)
        assert batcher.waiting_tokens == 30
        once = batcher.expected_wait()
        batcher.submit([10] * 3)
        assert batcher.expected_wait() == pytest.approx(2 * once)
        assert batcher.waiting_requests == 2


def test_idle_threads_share_what_waits() -> None:
    """One request is divided among them; a request that comes alone to a busy one is not."""
    slow, told = Slow(), list[int]()
    with running(slow, batch_tokens=100, workers=2, on_start=told.append) as batcher:
        future = batcher.submit([1, 2, 3, 4, 5, 5])
        assert all(slow.entered.acquire(timeout=PATIENCE) for _ in range(2))
        assert sorted(slow.batches) == [[1, 2, 3, 4], [5, 5]]
        assert told == [2, 2]
        second = batcher.submit([6, 6])
        slow.allowed.release(3)
        assert np.array_equal(future.result(PATIENCE), embedded([1, 2, 3, 4, 5, 5]))
        assert np.array_equal(second.result(PATIENCE), embedded([6, 6]))
    assert sorted(slow.batches)[-1] == [6, 6]


def test_a_batch_that_is_alone_has_all_processors() -> None:
    told: list[int] = []
    with running(embedded, batch_tokens=100, workers=3, on_start=told.append) as batcher:
        for number in range(4):
            assert batcher.submit([number]).result(PATIENCE).tolist() == [[number, number**2]]
    assert told == [1, 1, 1, 1]


@given(
    st.lists(st.lists(st.integers(-3, 30), min_size=1, max_size=9), max_size=30), st.integers(2, 4)
)
def test_several_threads_give_everybody_what_they_asked_for(
    requests: list[list[int]], workers: int
) -> None:
    def embed(items: Sequence[int]) -> Vectors:
        if any(item < 0 for item in items):
            raise ValueError("poison")
        return embedded(items)

    with running(embed, batch_tokens=20, workers=workers) as batcher:
        futures = [batcher.submit(items) for items in requests]
        for items, future in zip(requests, futures, strict=True):
            if any(item < 0 for item in items):
                with pytest.raises(ValueError, match="poison"):
                    future.result(PATIENCE)
            else:
                assert np.array_equal(future.result(PATIENCE), embedded(items))
        assert batcher.waiting_tokens == batcher.waiting_requests == 0
