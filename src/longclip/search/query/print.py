"""Answers on a terminal: colours there, marks in plain text; and pictures in a viewer."""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from longclip.search.query.query import Found
from longclip.search.query.sentence_scores import LEGEND, MEANINGS, Verdict, verdict
from longclip.util.terminal import plain_text, print_line

_STYLES: dict[Verdict, str] = {
    "yes": "bold black on green",
    "some": "green",
    "open": "bright_black",
    "no": "red strike",
}
_MARKS: dict[Verdict, str] = {"yes": "+", "some": ":", "open": ".", "no": "-"}
_MAX_COPIES_SHOWN = 3
_MAX_START_SECONDS = 5.0
"""A viewer that cannot start has failed by then, or never will; it may run until it is closed."""


def print_found(found: Found, console: Console) -> None:
    """Print an answer: the description's sentences, then the images and which of them they satisfy.

    Args:
        found: what to print.
        console: where; without a terminal, in plain text, a line for each image.
    """
    model = found.seconds["embedding"]
    rest = sum(found.seconds.values()) - model
    times = f"model {1000 * model:.0f} ms, search {1000 * rest:.0f} ms"
    print_line(console, Text(f"{summary(found)} · {times}", style="bright_black"))
    for note in found.notes:
        print_line(console, Text(f"note: {plain_text(note)}", style="yellow"))
    coloured = console.is_terminal and not console.no_color
    if any(hit.sentences for hit in found.hits):
        _print_sentences(found, console, coloured=coloured)
    if not found.hits:
        print_line(console, Text(nothing_found(found)))
    digits = len(str(len(found.hits)))
    for rank, hit in enumerate(found.hits, 1):
        line = Text(f"{rank:>{digits}}  ", style="bright_black")
        line.append(f"{hit.similarity:6.3f}", style="default")
        if hit.sentences:
            line.append("  ")
            for number, verdict_ in enumerate(map(verdict, hit.sentences), 1):
                line.append(_chip(str(number), verdict_) if coloured else Text(_MARKS[verdict_]))
        line.append("  ")
        line.append(plain_text(hit.facts.uri), style="bold default")
        print_line(console, line)
        if hit.also:
            shown = ", ".join(map(plain_text, hit.also[:_MAX_COPIES_SHOWN]))
            if len(hit.also) > _MAX_COPIES_SHOWN:
                shown += f" and {len(hit.also) - _MAX_COPIES_SHOWN} more"
            indent = " " * (digits + 2)
            print_line(console, Text(f"{indent}the same file: {shown}", style="bright_black"))


def summary(found: Found) -> str:
    """Return a line on how much was searched, and how."""
    images = "1 image" if found.total == 1 else f"{found.total:,} images"
    parts = [f"{images} searched{'' if found.exact else ' by index'}"]
    if found.tokens:
        parts.append(f"{found.tokens} tokens (the model reads {found.context_length})")
    return " · ".join(parts)


def nothing_found(found: Found) -> str:
    """Return the reason why there are no hits."""
    if found.total:
        return "no other image was found"
    return "the database is empty" if found.empty else "no image satisfies the filter"


def _print_sentences(found: Found, console: Console, *, coloured: bool) -> None:
    """Print the description's sentences with their numbers, and what marks and colours mean."""
    console.print()
    digits = len(str(len(found.sentences)))
    for number, sentence in enumerate(found.sentences, 1):
        line = Text(f"  {number:>{digits}}  ", style="bright_black")
        line.append(" ".join(sentence.split()), style="default")
        print_line(console, line)
    console.print()
    print_line(console, Text(f"  {LEGEND}", style="bright_black"))
    legend = Text("  ")
    for kind, meaning in MEANINGS.items():
        legend.append_text(_chip("n", kind) if coloured else Text(_MARKS[kind]))
        legend.append(f" {meaning}   ")
    legend.rstrip()
    print_line(console, legend)
    console.print()


def _chip(label: str, kind: Verdict) -> Text:
    if kind == "yes":
        return Text(f" {label} ", style=_STYLES[kind])
    # A stroke through the spaces, too, would join neighbours.
    return Text.assemble(" ", (label, _STYLES[kind]), " ")


def show_picture(path: Path) -> bool:
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
        return process.wait(_MAX_START_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
