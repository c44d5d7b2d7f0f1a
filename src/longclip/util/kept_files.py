"""Folders of files that are kept up to a limit; the one used longest ago is removed first."""

import os
from contextlib import suppress
from pathlib import Path

from longclip.util.files import remove_leftovers


def touch(path: Path) -> bool:
    """Note that a file is used now, and return whether it is there.

    The time of change stands for that of use: many file systems do not keep the time of access.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def make_room(directory: Path, pattern: str, size: int, limit: int) -> None:
    """Remove the files used longest ago until `size` bytes more are within `limit`.

    Args:
        directory: where they are; several processes may do this at the same time.
        pattern: of their names.
        size: bytes of a file that is about to get its name.
        limit: bytes that all of them may have together.
    """
    remove_leftovers(directory)
    kept = []
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):  # another process made room
            about = path.stat()
            kept.append((about.st_mtime, about.st_size, path))
    used = sum(bytes_ for _, bytes_, _ in kept)
    for _, bytes_, path in sorted(kept):
        if used + size <= limit:
            return
        # A process that has it open reads on; one that opens it later makes it again.
        path.unlink(missing_ok=True)
        used -= bytes_
