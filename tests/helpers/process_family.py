"""A command and every process that comes of it, in whatever session."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

_LIMIT_SECONDS = 120.0  # generous: the machine may have other work
_PROC = Path("/proc")


class ProcessFamily:
    """A command whose processes are found by a word in their environment; Linux alone.

    Args:
        words: the command.
        output: file of its standard output and error.
    """

    def __init__(self, words: list[str], output: Path) -> None:
        self._mark = f"TEST_FAMILY={uuid.uuid4().hex}".encode()
        name, value = self._mark.decode().split("=")
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {name: value, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self.output = output
        with output.open("wb") as file:
            self.first = subprocess.Popen(words, env=environment, stdout=file, stderr=file)

    def processes(self) -> list[int]:
        """Those that are alive; one that has ended and is not waited for has no environment."""
        found = []
        for folder in _PROC.iterdir():
            try:
                if folder.name.isdigit() and self._mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return sorted(found)

    def wait_for(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + _LIMIT_SECONDS
        while not what():
            assert time.monotonic() < end, (self.processes(), self.output.read_text()[-3000:])
            time.sleep(0.05)

    def __enter__(self) -> "ProcessFamily":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.first.wait()
