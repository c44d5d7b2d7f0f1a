"""Arrangements of a training process with its operating system: memory, and signals to stop."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch

from longclip.util.child_process import end_with_parent

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

# SIGTERM comes from torchrun, SLURM and clouds; SIGUSR1, which Windows has not, is what
# `sbatch --signal` is asked for.
_STOP_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGUSR1") if name in signal.Signals.__members__
)

_SECONDS_FOR_THE_PARENT = 20.0
"""Time that a data worker leaves its parent to end it; torchrun and SLURM kill all after 30 s."""


def keep_freed_memory() -> None:
    """Make glibc keep freed blocks for this process; do nothing where the C library is another."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # musl
        return
    # Each step frees its activations and takes blocks of the same sizes again. By default glibc
    # hands large ones back to the kernel, which must clear every page before it lends it anew: 10
    # to 25 % of a step on a CPU. Without mmap all blocks lie in the heap, and the heap never
    # shrinks; the price is that the process stays as large as its largest step.
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use so far: on a GPU by tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


@dataclass
class StopRequest:
    """State of the wish to stop.

    Attributes:
        received: a signal has come.
        interrupted: it was ^C, or SIGINT from elsewhere.
        in_steps: steps are being made, so that the one under way is finished first; at any other
            time ^C raises KeyboardInterrupt.
    """

    received: bool = False
    interrupted: bool = False
    in_steps: bool = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Note SIGTERM, SIGUSR1 and SIGINT while the block runs, in place of ending by them.

    A second SIGINT ends the process at once.
    """
    request = StopRequest()
    # Python lets no other thread set handlers; a run in one goes on without them.
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.received = True
        if number != signal.SIGINT:
            return
        request.interrupted = True
        # By the system's own handler: it ends also what waits for other processes or a device.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not request.in_steps:
            raise KeyboardInterrupt
        if os.environ.get("RANK", "0") == "0":
            # `print` must not be called while the code that was interrupted is in it.
            os.write(2, b"\nfinishing the step and writing a checkpoint; ^C again stops at once\n")

    # What a shell starts in the background ignores ^C, and is to go on ignoring it.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    numbers = _STOP_SIGNALS if ignored else (*_STOP_SIGNALS, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def begin_data_worker(parent: int, worker: int = 0) -> None:
    """Arrange a process that reads data: it ends with its parent, which alone decides when.

    torchrun, SLURM and ^C signal all processes at once. Workers that ended then would take the run
    down with them, before it has finished its step and written a checkpoint. So they leave it to
    the parent, who ends them by SIGTERM, and are gone when it is. SIGTERM from anyone else ends
    them after some seconds, in which a parent that got it too needs them no longer.

    Args:
        parent: the process id of the training process.
        worker: its number, which torch hands over.
    """
    end_with_parent(parent, by=signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever reads the output of a run waits until nobody can write to it any more.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    if not hasattr(signal, "sigwaitinfo"):  # macOS, where runs on many machines are rare
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)

    def wait_for_the_end() -> None:
        # A handler cannot learn who has sent a signal; a thread that waits for it can.
        while True:
            received = signal.sigwaitinfo(_STOP_SIGNALS)
            if received.si_signo != signal.SIGTERM:
                continue
            if received.si_pid != parent:
                time.sleep(_SECONDS_FOR_THE_PARENT)
            os._exit(0)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
