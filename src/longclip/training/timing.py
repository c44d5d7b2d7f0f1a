"""How fast a run goes, and how much of that it waits for data."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Stretch:
    """A few steps.

    Attributes:
        pairs: learned from, over all processes.
        seconds: they took.
        waited: seconds of these that no batch was ready.
    """

    pairs: int
    seconds: float
    waited: float

    @property
    def pairs_per_second(self) -> float:
        """0 where nothing has been done."""
        return self.pairs / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        share = self.waited / self.seconds if self.seconds else 0.0
        return f"{self.pairs_per_second:.3g} pairs/s, {share:.0%} waiting for data"


class Clock:
    """Measures steps; what lies between `pause` and the next step does not count."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._pairs = 0
        self._seconds = self._waited = 0.0

    def next(self, stream: Iterator[T]) -> T:
        """The next batch; waiting for it is noted."""
        asked = time.perf_counter()
        batch = next(stream)
        self._waited += time.perf_counter() - asked
        return batch

    def step(self, pairs: int) -> float:
        """A step is done: the seconds it took."""
        seconds = self.pause()
        self._pairs += pairs
        self._seconds += seconds
        return seconds

    def pause(self) -> float:
        """Forget the time since the last step."""
        now = time.perf_counter()
        seconds, self._began = now - self._began, now
        return seconds

    def so_far(self) -> Stretch:
        """The steps since `restart`."""
        return Stretch(self._pairs, self._seconds, self._waited)

    def restart(self) -> Stretch:
        """The steps since the last call of this."""
        found = self.so_far()
        self._pairs, self._seconds, self._waited = 0, 0.0, 0.0
        return found
