"""Printing of what was found: colours on a terminal, marks in plain text.

The viewer of this machine: a file is shown in the program that its kind opens with.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from longclip.search.query.query import Found, FoundImage
from longclip.search.query.sentence_scores import MEANINGS, Verdict, verdict
from longclip.util.terminal import plain_text, print_line

_STYLES: dict[Verdict, str] = {
    "yes": "bold black on green",
    "open": "bright_black",
    "no": "red strike",
}
_MARKS: dict[Verdict, str] = {"yes": "+", "open": "~", "no": "-"}
_COPIES_SHOWN = 3


def print_found(found: Found, console: Console) -> None:
    """Print an answer: the description's sentences, then the images and which of them they satisfy.

    Args:
        found: what to print.
        console: where; without a terminal, in plain text, a line for each image.
    """
    print_line(console, Text(f"{summary(found)} · {_times(found)}", style="bright_black"))
    for note in found.notes:
        print_line(console, Text(f"note: {plain_text(note)}", style="yellow"))
    scored = any(hit.sentences for hit in found.hits)
    if scored:
        _print_sentences(found, console)
    if not found.hits:
        print_line(console, Text(nothing_found(found)))
    for rank, hit in enumerate(found.hits, 1):
        _print_hit(rank, hit, found, console)


def summary(found: Found) -> str:
    """Say in a line how much was searched, and how."""
    images = "1 image" if found.total == 1 else f"{found.total:,} images"
    parts = [f"{images} searched{'' if found.exact else ' by index'}"]
    if found.tokens:
        parts.append(f"{found.tokens} tokens (the model reads {found.context_length})")
    return " · ".join(parts)


def _times(found: Found) -> str:
    model = found.seconds["embedding"]
    rest = sum(found.seconds.values()) - model
    return f"model {1000 * model:.0f} ms, search {1000 * rest:.0f} ms"


def nothing_found(found: Found) -> str:
    """Say why there are no hits."""
    if found.total:
        return "no other image was found"
    return "no image satisfies the filter, or the database is empty"


def _legend(plain: bool) -> Text:
    """Explain marks and colours."""
    line = Text("  ")
    for kind, text in MEANINGS.items():
        line.append_text(Text(_MARKS[kind]) if plain else _chip("n", kind))
        line.append(f" {text}   ")
    line.rstrip()
    return line


def _print_sentences(found: Found, console: Console) -> None:
    console.print()
    digits = len(str(len(found.sentences)))
    for number, sentence in enumerate(found.sentences, 1):
        line = Text(f"  {number:>{digits}}  ", style="bright_black")
        line.append(" ".join(sentence.split()), style="default")
        print_line(console, line)
    console.print()
    print_line(console, _legend(not _coloured(console)))
    console.print()


def _print_hit(rank: int, hit: FoundImage, found: Found, console: Console) -> None:
    digits = len(str(len(found.hits)))
    line = Text(f"{rank:>{digits}}  ", style="bright_black")
    line.append(f"{hit.similarity:6.3f}", style="default")
    if hit.sentences:
        line.append("  ")
        line.append(_strip(hit.sentences, plain=not _coloured(console)))
    line.append("  ")
    line.append(plain_text(hit.facts.uri), style="bold default")
    print_line(console, line)
    indent = " " * (digits + 2)
    if hit.also:
        shown = ", ".join(map(plain_text, hit.also[:_COPIES_SHOWN]))
        more = f" and {len(hit.also) - _COPIES_SHOWN} more" * (len(hit.also) > _COPIES_SHOWN)
        print_line(console, Text(f"{indent}the same file: {shown}{more}", style="bright_black"))


def _strip(scores: Sequence[float], *, plain: bool) -> Text:
    """Return a mark for each sentence; on a terminal its number."""
    if plain:
        return Text("".join(_MARKS[verdict(score)] for score in scores))
    chips = (_chip(str(number), verdict(score)) for number, score in enumerate(scores, 1))
    return Text().join(chips)


def _chip(label: str, kind: Verdict) -> Text:
    if kind == "yes":
        return Text(f" {label} ", style=_STYLES[kind])
    # A stroke through the spaces, too, would join neighbours.
    return Text.assemble(" ", (label, _STYLES[kind]), " ")


def _coloured(console: Console) -> bool:
    return console.is_terminal and not console.no_color


_WAIT_SECONDS = 5.0
"""What starts a program has failed by then, or never will; it may run until the program ends."""


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
        return process.wait(_WAIT_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
