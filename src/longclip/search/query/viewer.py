"""The viewer of this machine: a file is shown in the program that its kind opens with."""

import os
import subprocess
import sys
from pathlib import Path

_WAIT_SECONDS = 5.0
"""What starts a program has failed by then, or never will; it may run until the program ends."""


def show(path: Path) -> bool:
    """Open a file as a double click does; False where nothing can, or no screen is there.

    That is `open` on macOS, what the file's kind is associated with on Windows, and `xdg-open`
    elsewhere. The program lives on when this process ends.
    """
    where = str(path.absolute())
    if sys.platform == "win32":
        try:
            os.startfile(where)
        except OSError:
            return False
        return True
    if sys.platform == "darwin":
        return _started("open", where)
    # Without a screen it would take over the terminal with a browser for text.
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and _started("xdg-open", where)


def _started(program: str, path: str) -> bool:
    silent = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            [program, path], stdin=silent, stdout=silent, stderr=silent, start_new_session=True
        )
    except OSError:  # it is not there
        return False
    try:
        return process.wait(_WAIT_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
