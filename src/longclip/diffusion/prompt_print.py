"""Printer of a prompt's tokens and sentences: colours on a terminal, marks in plain text."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from longclip.diffusion.prompt_view import PromptView, Window, limits_of
from longclip.diffusion.text_readers import TextReader
from longclip.spec import SPECIAL_TOKENS
from longclip.util.terminal import print_line

# Before the first cut, behind it, behind the second, and so on.
_STYLES = ("", "yellow", "red", "bright_black")
_WORDS = {"whole": "read", "part": "in part", "not": "cut"}


def print_views(
    views: Sequence[tuple[str, PromptView]], console: Console, *, weights: bool
) -> None:
    """Print everything about one prompt, or about several with a title in front of each.

    Args:
        views: titles and prompts.
        console: to print on; without a terminal, in plain text.
        weights: whether weights were read in them.
    """
    for title, view in views:
        for names, reader, windows in _grouped(view):
            for number, window in enumerate(windows, 1):
                of = f", window {number} of {len(windows)}" if len(windows) > 1 else ""
                heading = f"{title}: {names}{of}" if len(views) > 1 else f"{names}{of}"
                own, count = reader.context_length, window.count
                end = f", so the last {count - own} are cut off" if count > own else ""
                line = f"{heading}: {count} tokens, begin and end included; reads {own}{end}"
                print_line(console, Text(line, style="bold"))
                print_line(console, _token_line(window))
                _print_sentences(window, console)
        _print_syntax(view, console, weights=weights)


def _print_syntax(view: PromptView, console: Console, *, weights: bool) -> None:
    """Print the weights and BREAKs of a prompt that has some, and when they are read."""
    if not view.has_syntax:
        return
    if not weights:
        print_line(
            console, Text("brackets and BREAK are plain text here, as for a pipeline's own call")
        )
        return
    for piece in view.emphasis:
        print_line(console, Text(f"weight {piece.weight:.2f}: {' '.join(piece.text.split())}"))
    breaks = len(view.encoders[0][1]) - 1
    if breaks:
        print_line(console, Text(f"BREAK: {breaks + 1} windows, encoded one by one"))
    print_line(
        console,
        Text(
            "`longclip generate --weights` reads it like this; without, brackets and BREAK are "
            "text (--no-weights shows it)"
        ),
    )


def _grouped(view: PromptView) -> list[tuple[str, TextReader, tuple[Window, ...]]]:
    """Return the windows of a prompt, once for all encoders that read the same."""
    groups: list[tuple[list[str], TextReader, tuple[Window, ...]]] = []
    for reader, windows in view.encoders:
        for names, other, same in groups:
            alike = [window.ids for window in windows] == [window.ids for window in same]
            if alike and reader.context_length == other.context_length:
                names.append(reader.name)
                break
        else:
            groups.append(([reader.name], reader, windows))
    return [(" and ".join(names), reader, windows) for names, reader, windows in groups]


def _token_line(window: Window) -> Text:
    """Return all tokens; "·" joins those of one word, and bars stand where a cut is."""
    line = Text("  ")
    cuts = [limit - SPECIAL_TOKENS for limit in limits_of(window.reader) if window.count > limit]
    for place, piece in enumerate(window.pieces):
        if place in cuts:
            limit = place + SPECIAL_TOKENS
            line.append(f"|{limit} end here|", style="bold reverse")
            line.append(" ")
        style = _STYLES[min(sum(place >= cut for cut in cuts), len(_STYLES) - 1)]
        last = place + 1 == len(window.pieces)
        joined = piece if piece.endswith(" ") or last or not piece else f"{piece}·"
        line.append(joined, style=style)
    return line


def _print_sentences(window: Window, console: Console) -> None:
    """Print a table of sentences: their tokens, and which encoders read them."""
    limits = limits_of(window.reader)
    sentences = window.sentences()
    if not sentences:
        return
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("from–to", justify="right", no_wrap=True)
    for limit in limits:
        table.add_column(f"by {limit}", no_wrap=True)
    table.add_column("sentence")
    for sentence in sentences:
        read = [sentence.read(limit) for limit in limits]
        style = _STYLES[min(sum(one != "whole" for one in read), len(_STYLES) - 1)]
        table.add_row(
            str(sentence.last - sentence.first + 1),
            f"{sentence.first}–{sentence.last}",
            *(_WORDS[one] for one in read),
            Text(sentence.text),
            style=style,
        )
    console.print(table)
