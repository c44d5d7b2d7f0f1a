"""Arrangements of a training process with its operating system: memory, and signals to stop."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

# SIGTERM comes from torchrun, SLURM and clouds; SIGUSR1, which Windows has not, is what
# `sbatch --signal` is asked for.
_STOP_SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGTERM", "SIGUSR1") if name in signal.Signals.__members__
)


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
    """State of the wish to stop: `received` is set once a signal has come."""

    received: bool = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Note SIGTERM and SIGUSR1 while the block runs, in place of ending by them."""
    request = StopRequest()
    # Python lets no other thread set handlers; a run in one goes on without them.
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        request.received = True  # no more: the step under way is finished first

    before = {number: signal.signal(number, note) for number in _STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stop_signals(worker: int = 0) -> None:
    """Make a data worker outlive signals to stop, unless its own parent sends SIGTERM.

    torchrun and SLURM signal all processes at once. Workers that ended then would take the run down
    with them, before it has finished its step and written a checkpoint. The parent itself ends its
    workers by SIGTERM.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS, where runs on many machines are rare
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)

    def end_with_parent() -> None:
        # A handler cannot learn who has sent a signal; a thread that waits for it can.
        while True:
            received = signal.sigwaitinfo(_STOP_SIGNALS)
            if received.si_signo == signal.SIGTERM and received.si_pid == os.getppid():
                os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
