"""Locks on open files, which the kernel releases when their process ends, however it ends."""

import os

from filelock import lock_descriptor

_held: set[int] = set()


def take_lock(descriptor: int) -> bool | None:
    """Lock an open file or directory, without waiting.

    Forked children do not hold the lock with their parent: it ends with the process that took it,
    and not with the last of its workers.

    Returns:
        Whether it is ours now; None where the file system has no locks.
    """
    try:
        taken = lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None
    if taken:
        _held.add(descriptor)
    return taken


def close(descriptor: int) -> None:
    """Close a file, and with it release its lock."""
    _held.discard(descriptor)
    os.close(descriptor)


def _close_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
