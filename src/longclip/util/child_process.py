"""Child processes that end with their parent, however that ends: by `kill -9` too."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h
_SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent(parent: int, by: signal.Signals = signal.SIGTERM) -> None:
    """Have this process get a signal when its parent has ended; call it in the child.

    On Linux the kernel sends it, at the latest when the parent's thread that started this process
    has ended. Elsewhere a thread looks after the parent every second.

    Args:
        parent: its process id, which the child may no longer be able to ask for.
        by: the signal.
    """
    if not hasattr(os, "fork"):  # Windows, where a process does not know that its parent has gone
        return
    if sys.platform.startswith("linux"):
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None and prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0) == 0:
            # One that ended before the call sends nothing any more.
            if os.getppid() != parent:
                os.kill(os.getpid(), by)
            return
    watch = threading.Thread(target=_watch, args=(parent, by), daemon=True)
    watch.start()


def _watch(parent: int, by: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), by)
