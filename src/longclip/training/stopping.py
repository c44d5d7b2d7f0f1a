"""Being told to stop: preemptible machines and job schedulers send a signal some time before."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM comes from torchrun, SLURM and clouds; SIGUSR1 is what `sbatch --signal` is asked for.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self.came = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the step under way is finished first."""
        self.came = True


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Listen for signals while the block runs; outside the main thread that is not possible."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
