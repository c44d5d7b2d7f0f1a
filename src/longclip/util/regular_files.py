"""Regular files: the only ones that are opened for reading, and what others are."""

import errno
import os
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

MAX_SMALL_FILE_BYTES = 64_000_000
"""Size of the largest configuration, tokenizer or list that is read whole."""

_NO_FILES = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}

_SYSTEM_TYPES = frozenset(
    [
        "proc",
        "sysfs",
        "devpts",
        "cgroup",
        "cgroup2",
        "debugfs",
        "tracefs",
        "securityfs",
        "configfs",
        "pstore",
        "bpf",
        "efivarfs",
    ]
)
"""File systems of Linux in which reading a file asks the kernel, which may not answer."""


def no_file_reason(about: os.stat_result) -> str:
    """Return what something is that is no file to be read; empty where it is a file or folder."""
    if about.st_dev in _system_devices():
        return "a view of the running system"
    return next((what for is_one, what in _NO_FILES.items() if is_one(about.st_mode)), "")


@lru_cache(maxsize=1)
def _system_devices() -> frozenset[int]:
    """Return the devices, as in `st_dev`, of file systems that hold no files, such as /proc."""
    devices = set()
    with (
        suppress(OSError),
        open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file,
    ):
        for line in file:
            # 36 35 98:0 /root /mount rw,noatime master:1 - type source options
            device, kind = line.split(" ", 3)[2], line.partition(" - ")[2].partition(" ")[0]
            if kind in _SYSTEM_TYPES:
                major, _, minor = device.partition(":")
                devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading.

    A pipe could be waited for without end, and a device read without end.

    Raises:
        OSError: if it cannot be opened or is something else; it has the path.
    """
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    about = os.fstat(descriptor)
    reason = no_file_reason(about)
    if stat.S_ISREG(about.st_mode) and not reason:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, f"Not a regular file, but {reason or 'something else'}", str(path))


def read_regular(path: str | Path, most: int = MAX_SMALL_FILE_BYTES) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: as `open_regular`, and if it has more than `most` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            message = f"Larger than the {most / 1e6:g} MB that such a file may have"
            raise OSError(errno.EFBIG, message, str(path))
        return file.read(size)
