"""Lines and progress for people: a bar on a terminal, plain lines in a pipe."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class OnProgress(Protocol):
    """Callback that is given how far a stage is, last done = total; `note` says how it goes."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def _ignore(stage: str, done: int, total: int, note: str = "") -> None:
    pass


SILENT: OnProgress = _ignore
"""Default of every `on_progress`: nothing is shown."""

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_WORTH_A_LINE = 2.0


@contextmanager
def progress_display(console: Console | None = None) -> Iterator[OnProgress]:
    """Yield a display for `on_progress`; without a `console`, on standard error."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        ) as bars:
            yield _Bars(bars)
    else:
        yield _Lines(console)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task_of: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if done == 0 or stage not in self._task_of:
            self._task_of[stage] = self._bars.add_task(stage, total=total, note="")
        self._bars.update(self._task_of[stage], completed=done, note=note)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._began = self._last = 0.0
        self._first = 0  # done when it began, of what is gone on with
        self._ended = False

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if done == 0 or stage != self._stage:
            self._stage, self._began, self._last, self._ended = stage, now, now, False
            self._first = done
        ended, self._ended = self._ended, done == total
        long = now - self._began >= _SECONDS_WORTH_A_LINE
        if (self._ended and long and not ended) or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            rate = (done - self._first) / max(now - self._began, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            line = f"{stage}: {done} of {total}, {rate:.3g}/s{left}{', ' * bool(note)}{note}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g}/s" if speed else "")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 step`, `2,000 steps`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def print_line(console: Console, text: Text) -> None:
    """Print one line; in a pipe it stays one, whatever its length."""
    console.print(text, soft_wrap=not console.is_terminal, highlight=False)


def plain_text(text: str) -> str:
    """Return `text` in which nothing can end a line, colour it or move the cursor."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
