"""Batches of the requests of many clients, for one model.

What arrives while all threads that embed are busy waits and goes along in the next batch, so
batches grow with the load by themselves. Of the requests that wait each gives one item in turn: a
search of five sentences does not stand behind two thousand captions.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


@dataclass(frozen=True)
class BatchDone:
    """Size and time of a batch, for metrics."""

    items: int
    tokens: int
    seconds: float


class Closed(RuntimeError):
    """The service is shutting down and takes nothing new."""


@dataclass(eq=False)
class _Request(Generic[Item]):
    items: Sequence[Item]
    future: "Future[NDArray[np.float32]]" = field(default_factory=Future)
    taken: int = 0
    rows: dict[int, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place(Generic[Item]):
    request: _Request[Item]
    index: int

    @property
    def item(self) -> Item:
        return self.request.items[self.index]


class Batcher(Generic[Item]):
    """Threads that embed what all threads and tasks submit.

    Args:
        embed: items to float32 [N, D], in their order; called by these threads alone.
        cost: tokens of an item.
        batch_tokens: most tokens of a batch; an item that has more goes alone.
        wait: seconds for which a batch that is not full waits for more.
        workers: batches that are embedded at a time. What waits is divided among idle ones.
        on_start: called before a batch, by the thread that embeds it, with the number of batches
            that are embedded at the same time.
        on_batch: called with every batch that is done, by that thread.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[Item]], NDArray[np.float32]],
        cost: Callable[[Item], int],
        *,
        batch_tokens: int,
        wait: float = 0.0,
        workers: int = 1,
        on_start: Callable[[int], None] | None = None,
        on_batch: Callable[[BatchDone], None] | None = None,
    ) -> None:
        self._embed = embed
        self._cost = cost
        self._batch_tokens = batch_tokens
        self._wait = wait
        self._on_start = on_start
        self._on_batch = on_batch
        self._requests: deque[_Request[Item]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._waiting_tokens = 0
        self._waiting_since = 0.0
        self._tokens_per_second: float | None = None
        self._busy = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"longclip-embed-{i}", daemon=True)
            for i in range(workers)
        ]

    def start(self) -> None:
        """Begin to embed."""
        for thread in self._threads:
            thread.start()

    def submit(self, items: Sequence[Item]) -> "Future[NDArray[np.float32]]":
        """Have items embedded.

        Returns:
            A future of float32 [len(items), D]. Cancelling it, at any time, takes out what has not
            been embedded yet. It holds the error where an item could not be embedded; other
            requests do not notice.

        Raises:
            Closed: after `close`.
        """
        assert items, "there is nothing to embed"
        request = _Request(items)
        tokens = sum(map(self._cost, items))
        with self._changed:
            if self._closed:
                raise Closed("the service is shutting down")
            if not self._requests:
                self._waiting_since = time.monotonic()
            self._requests.append(request)
            self._waiting_tokens += tokens
            self._changed.notify_all()
        return request.future

    def close(self) -> None:
        """Take nothing new, embed what has been submitted, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Return whether what is submitted will be embedded."""
        return all(thread.is_alive() for thread in self._threads) and not self._closed

    @property
    def waiting_requests(self) -> int:
        """Return how many requests have items that wait."""
        return len(self._requests)

    @property
    def waiting_tokens(self) -> int:
        """Return how many tokens wait."""
        return self._waiting_tokens

    def expected_wait(self) -> float:
        """Return the seconds until what waits now is embedded, going by the batches so far."""
        rate = self._tokens_per_second
        return self._waiting_tokens / (rate * len(self._threads)) if rate else 0.0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._requests or self._closed)
                if not self._requests:
                    return
                self._changed.wait_for(
                    lambda: self._closed or self._waiting_tokens >= self._batch_tokens,
                    timeout=self._waiting_since + self._wait - time.monotonic(),
                )
                batch = self._take()
                if not batch:  # all that waited has been cancelled, or taken by another thread
                    continue
                self._busy += 1
                # Idle threads will begin with what is left.
                at_a_time = len(self._threads) if self._requests else self._busy
                self._changed.notify_all()
            if self._on_start:
                self._on_start(at_a_time)
            self._answer(batch)
            with self._changed:
                self._busy -= 1

    def _take(self) -> list[_Place[Item]]:
        """Take one item of each waiting request in turn, until the batch is full.

        It is full, too, when it has its share of what waits, where other threads are idle.
        """
        batch: list[_Place[Item]] = []
        tokens = 0
        share = math.ceil(self._waiting_tokens / (len(self._threads) - self._busy))
        most = min(self._batch_tokens, share)
        while self._requests:
            request = self._requests.popleft()
            if request.future.done():  # cancelled, or failed with an earlier item
                self._waiting_tokens -= sum(map(self._cost, request.items[request.taken :]))
                continue
            place = _Place(request, request.taken)
            cost = self._cost(place.item)
            if batch and tokens + cost > most:
                self._requests.appendleft(request)
                break
            batch.append(place)
            tokens += cost
            request.taken += 1
            if request.taken < len(request.items):
                self._requests.append(request)
        self._waiting_tokens -= tokens
        return batch

    def _answer(self, batch: Sequence[_Place[Item]]) -> None:
        started = time.perf_counter()
        try:
            rows = self._embed([place.item for place in batch])
            assert len(rows) == len(batch), f"{len(rows)} embeddings of {len(batch)} items"
        except Exception as error:
            if len(batch) > 1:
                # Alone: one that cannot be embedded must not spoil those that came with it.
                for place in batch:
                    self._answer([place])
                return
            with self._changed:
                future = batch[0].request.future
                if not future.done() and future.set_running_or_notify_cancel():
                    future.set_exception(error)
            return
        seconds = time.perf_counter() - started
        tokens = sum(self._cost(place.item) for place in batch)
        rate = tokens / max(seconds, 1e-6)
        if self._on_batch:
            self._on_batch(BatchDone(len(batch), tokens, seconds))
        # Items of one request may have been embedded by several threads.
        with self._changed:
            before = self._tokens_per_second
            self._tokens_per_second = rate if before is None else 0.8 * before + 0.2 * rate
            for place, row in zip(batch, rows, strict=True):
                request, future = place.request, place.request.future
                request.rows[place.index] = row
                is_whole = len(request.rows) == len(request.items)
                # Only now does the future count as running: until here its client may cancel it.
                if is_whole and not future.done() and future.set_running_or_notify_cancel():
                    future.set_result(
                        np.stack([request.rows[i] for i in range(len(request.items))])
                    )
