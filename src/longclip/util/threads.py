"""Work of threads, done ahead of its use and handed over in order."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


def in_order(
    call: Callable[[In], Out], items: Iterable[In], *, ahead: int, workers: int | None, most: int
) -> Generator[Out]:
    """Yield `call` of every item, in their order; the next `ahead` are ready while one is used.

    Args:
        call: run in threads, several at a time.
        items: its arguments.
        ahead: number of results that may wait.
        workers: threads; one per processor, at most `most`, where None.
        most: see `workers`.

    Raises:
        Exception: what `call` raises, in its place. Closing the generator cancels what waits.
    """
    if workers is None:
        workers = min(most, processors())
    pool = ThreadPoolExecutor(workers, thread_name_prefix="longclip-decode")
    waiting: deque[Future[Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) >= ahead + workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
