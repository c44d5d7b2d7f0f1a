"""Being told to stop: preemptible machines and job schedulers send a signal some time before."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM comes from torchrun, SLURM and clouds; SIGUSR1, which Windows has not, is what
# `sbatch --signal` is asked for.
_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGUSR1") if name in signal.Signals.__members__
)


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


def heed_parent_alone(worker: int = 0) -> None:
    """In a worker process: go on working through such signals, unless they are the parent's.

    torchrun and SLURM signal all processes at once. Workers that ended then would take the run down
    with them, before it has finished its step and written a checkpoint.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS, where runs on many machines are rare
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A handler is not told who has sent a signal; a thread that waits for it is.
    while True:
        signalled = signal.sigwaitinfo(_SIGNALS)
        if signalled.si_signo == signal.SIGTERM and signalled.si_pid == os.getppid():
            os._exit(0)
