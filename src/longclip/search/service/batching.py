"""Batches of the requests of many clients, for one model.

One thread embeds. What arrives while it is busy waits and goes along in the next batch, so batches
grow with the load by themselves. Of the requests that wait each gives one item in turn: a search of
five sentences does not stand behind two thousand captions.
"""

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
    """A thread that embeds what all threads and tasks submit.

    Args:
        embed: items to float32 [N, D], in their order; called by that thread alone.
        cost: tokens of an item.
        batch_tokens: most tokens of a batch; an item that has more goes alone.
        wait: seconds for which a batch that is not full waits for more.
        on_batch: called with every batch, by that thread.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[Item]], NDArray[np.float32]],
        cost: Callable[[Item], int],
        *,
        batch_tokens: int,
        wait: float = 0.0,
        on_batch: Callable[[BatchDone], None] | None = None,
    ) -> None:
        self._embed = embed
        self._cost = cost
        self._batch_tokens = batch_tokens
        self._wait = wait
        self._on_batch = on_batch
        self._requests: deque[_Request[Item]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._waiting_tokens = 0
        self._waiting_since = 0.0
        self._tokens_per_second: float | None = None
        self._thread = threading.Thread(target=self._run, name="longclip-embed", daemon=True)

    def start(self) -> None:
        """Begin to embed."""
        self._thread.start()

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
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Take nothing new, embed what has been submitted, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Return whether what is submitted will be embedded."""
        return self._thread.is_alive() and not self._closed

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
        return self._waiting_tokens / rate if rate else 0.0

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
            if batch:  # it is empty where all that waited has been cancelled
                self._answer(batch)

    def _take(self) -> list[_Place[Item]]:
        """Take one item of each waiting request in turn, until the batch is full."""
        batch: list[_Place[Item]] = []
        tokens = 0
        while self._requests:
            request = self._requests.popleft()
            if request.future.done():  # cancelled, or failed with an earlier item
                self._waiting_tokens -= sum(map(self._cost, request.items[request.taken :]))
                continue
            place = _Place(request, request.taken)
            cost = self._cost(place.item)
            if batch and tokens + cost > self._batch_tokens:
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
            future = batch[0].request.future
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)
            return
        seconds = time.perf_counter() - started
        tokens = sum(self._cost(place.item) for place in batch)
        rate = tokens / max(seconds, 1e-6)
        before = self._tokens_per_second
        self._tokens_per_second = rate if before is None else 0.8 * before + 0.2 * rate
        if self._on_batch:
            self._on_batch(BatchDone(len(batch), tokens, seconds))
        for place, row in zip(batch, rows, strict=True):
            request, future = place.request, place.request.future
            request.rows[place.index] = row
            is_whole = len(request.rows) == len(request.items)
            # Only now does the future count as running: until here its client may cancel it.
            if is_whole and not future.done() and future.set_running_or_notify_cancel():
                future.set_result(np.stack([request.rows[i] for i in range(len(request.items))]))
