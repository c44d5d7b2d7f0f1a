"""Writer of a run: the one process that may write into its directory, and how it ended."""

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args

from longclip.errors import UsageError
from longclip.util import locks

WRITER = "writer.json"

Outcome = Literal["finished", "stopped", "failed"]

# Where the kernel's locks do not reach, as between the machines of some shared file systems, a
# writer shows that it lives by the time of its file. Those who look at it have clocks of their own.
_HEARTBEAT_SECONDS = 5.0
_DEAD_AFTER_SECONDS = 30.0
_SILENT_SECONDS = 180.0
_ATTEMPTS, _PAUSE_SECONDS = 20, 0.1


@dataclass(frozen=True)
class Writer:
    """What a writer says of itself.

    Attributes:
        process: its number on `host`.
        host: name of the machine.
        since: when it began, local time.
        outcome: how it ended; empty while it writes, and for ever if it was killed.
        reason: why it failed or stopped.
    """

    process: int
    host: str
    since: str
    outcome: Outcome | Literal[""] = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"


@dataclass(frozen=True)
class WriterState:
    """What is known of the writer of a run: who it is, if that can be read, and if it lives."""

    writer: Writer | None
    alive: bool


def writer_state(run: Path) -> WriterState | None:
    """Look who writes, or has written, into the directory of a run; None where nobody has."""
    descriptor = None
    for flags in (os.O_RDWR, os.O_RDONLY):  # a run may be somebody else's
        with suppress(OSError):
            descriptor = os.open(run / WRITER, flags)
            break
    if descriptor is None:
        return None
    try:
        writer = _read(descriptor)
        locked = locks.take_lock(descriptor)
        if locked is False:
            return WriterState(writer, alive=True)
        silent = time.time() - os.fstat(descriptor).st_mtime
        alive = _beats(writer, locked) and silent < _SILENT_SECONDS
        return WriterState(writer, alive)
    finally:
        locks.close(descriptor)


class RunWriter:
    """Leave of this process to write into the directory of a run.

    Args:
        run: the directory, which need not exist.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._descriptor: int | None = None
        self._made: Sequence[Path] = ()
        self._new = False
        self._done = threading.Event()
        self._writer = Writer(
            os.getpid(), socket.gethostname(), datetime.now().isoformat(" ", "seconds")
        )

    def take(self) -> None:
        """Become the writer, if there is none.

        Raises:
            UsageError: if another process is; says which, and what to do.
            OSError: if nothing can be written there.
        """
        descriptor, locked = self._open()
        other = _read(descriptor)
        if _beats(other, locked):
            warnings.warn(
                f"{self._run} was left without an end by {other}, or is still written there: "
                f"watching it for {_DEAD_AFTER_SECONDS:.0f} s",
                stacklevel=2,
            )
            if _changes(self._run / WRITER):
                locks.close(descriptor)
                raise UsageError(busy(self._run, other))
        self._descriptor = descriptor

    def _open(self) -> tuple[int, bool | None]:
        """Open the file and lock it; None where there are no locks."""
        for _ in range(_ATTEMPTS):
            missing = takewhile(lambda each: not each.is_dir(), (self._run, *self._run.parents))
            made = list(missing)
            try:
                self._run.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self._run / WRITER, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # a start that failed clears the directory away meanwhile
                continue
            # Somebody who looks holds the lock for a moment.
            for _ in range(_ATTEMPTS):
                locked = locks.take_lock(descriptor)
                if locked is not False:
                    break
                time.sleep(_PAUSE_SECONDS)
            else:
                other = _read(descriptor)
                os.close(descriptor)
                raise UsageError(busy(self._run, other))
            # Or it has cleared away what we had opened, before it was locked.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self._run / WRITER), os.fstat(descriptor)):
                    self._made, self._new = made, not os.fstat(descriptor).st_size
                    return descriptor, locked
            locks.close(descriptor)
        raise UsageError(f"{self._run} cannot be written: no directory stays there")

    def announce(self) -> None:
        """Write who writes, and keep showing that it lives."""
        assert self._descriptor is not None
        _write(self._descriptor, self._writer)
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self, outcome: Outcome, reason: str = "") -> None:
        """Write how it ended, and let others write."""
        assert self._descriptor is not None
        self._done.set()
        lines = reason.strip().splitlines()
        record = asdict(self._writer) | {"outcome": outcome, "reason": lines[0] if lines else ""}
        with suppress(OSError):  # a full disk: then it counts as killed
            _write(self._descriptor, Writer(**record))
        self._close()

    def give_up(self) -> None:
        """Let others write, and leave no sign of this process; directories only if not empty."""
        self._done.set()
        if self._new:
            with suppress(OSError):
                (self._run / WRITER).unlink()
                for each in self._made:
                    each.rmdir()
        self._close()

    def _close(self) -> None:
        assert self._descriptor is not None
        locks.close(self._descriptor)
        self._descriptor = None

    def _beat(self) -> None:
        path = self._run / WRITER
        while not self._done.wait(_HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)


def _beats(writer: Writer | None, locked: bool | None) -> bool:
    """Return whether only its heartbeat can tell if a writer lives, which has our lock or none."""
    if writer is None or writer.outcome:
        return False
    return locked is None or writer.host != socket.gethostname()


def _changes(path: Path) -> bool:
    """Watch for a sign of life, for as long as a living writer needs to give one."""

    def changed() -> int:
        with path.open("rb") as file:  # NFS asks the server anew only when a file is opened
            return os.fstat(file.fileno()).st_mtime_ns

    before, end = changed(), time.monotonic() + _DEAD_AFTER_SECONDS
    while time.monotonic() < end:
        time.sleep(_PAUSE_SECONDS)
        if changed() != before:
            return True
    return False


def busy(run: Path, writer: Writer | None) -> str:
    """Say who writes into the directory of a run, and what to do."""
    who = str(writer) if writer is not None else "another process"
    kill = f" (kill {writer.process})" if writer is not None else ""
    return f"{run} is being written by {who}; wait for it, stop it{kill}, or take another --out"


def _read(descriptor: int) -> Writer | None:
    """Read what the file says; None where it is empty or damaged."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        values: Any = json.loads(os.read(descriptor, 1 << 16))
        writer = Writer(**values)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    known = writer.outcome in ("", *get_args(Outcome))
    return writer if known and isinstance(writer.process, int) else None


def _write(descriptor: int, writer: Writer) -> None:
    content = (json.dumps(asdict(writer)) + "\n").encode()
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content)
    os.ftruncate(descriptor, len(content))
