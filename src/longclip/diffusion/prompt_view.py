"""View of a prompt as text encoders read it: its tokens, and what a number of them leaves out.

It is printed in colours on a terminal and with marks in plain text, or made JSON for programs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from longclip.diffusion.emphasis import Piece, Section, parse_prompt, unweighted
from longclip.diffusion.text_readers import TextReader
from longclip.spec import LONG_CONTEXT, SPECIAL_TOKENS, STOCK_CONTEXT
from longclip.text.sentences import split_sentences
from longclip.text.spans import longest_fit
from longclip.util.terminal import print_line

Reading = Literal["whole", "part", "not"]
"""The part of a sentence that an encoder reads."""


@dataclass(frozen=True)
class Sentence:
    """A sentence, and the places of its first and last token: the first behind BOS is 1."""

    text: str
    first: int
    last: int

    def read(self, context_length: int) -> Reading:
        """Return how much of it an encoder of that many tokens reads."""
        if self.last <= context_length - SPECIAL_TOKENS:
            return "whole"
        return "part" if self.first <= context_length - SPECIAL_TOKENS else "not"


@dataclass(frozen=True)
class Window:
    """A text that goes through an encoder at once: the prompt, or a part of it between BREAKs.

    Attributes:
        section: the text in pieces, each with the weight of its words.
        reader: how it is read.
    """

    section: Section
    reader: TextReader

    @cached_property
    def text(self) -> str:
        """The text without the marks that gave the weights."""
        return "".join(piece.text for piece in self.section)

    @cached_property
    def ids(self) -> list[int]:
        """Its tokens, without begin and end."""
        return [id for piece in self.section for id in self.reader.encode(piece.text)]

    @cached_property
    def pieces(self) -> list[str]:
        """One printable string per token."""
        return self.reader.pieces(self.ids)

    @property
    def count(self) -> int:
        """Tokens with begin and end."""
        return len(self.ids) + SPECIAL_TOKENS

    def tokens_before(self, end: int) -> int:
        """Return the number of tokens of `text[:end]`."""
        tokens = 0
        for piece in self.section:
            tokens += len(self.reader.encode(piece.text[: max(end, 0)]))
            end -= len(piece.text)
        return tokens

    def cut_at(self, context_length: int) -> int:
        """Return the index in `text` up to which it is read by that many tokens.

        A word of which only a part is read counts as cut.
        """
        if self.count <= context_length:
            return len(self.text)
        ends = [match.end() for match in _WORD.finditer(self.text)]
        capacity = context_length - SPECIAL_TOKENS
        fitting = longest_fit(lambda n: self.tokens_before(ends[n - 1]), len(ends), capacity)
        return [0, *ends][fitting]

    def sentences(self) -> list[Sentence]:
        """Split it into its sentences, in their order."""
        words = list(re.finditer(r"\S+", self.text))
        found = split_sentences(self.text)
        ends = [0]
        for sentence in found:
            ends.append(ends[-1] + len(sentence.split()))
        result = []
        for sentence, (first, last) in zip(found, pairwise(ends), strict=True):
            before = self.tokens_before(words[first].start())
            until = self.tokens_before(words[last - 1].end())
            result.append(Sentence(sentence, before + 1, until))
        return result


# Where CLIP's words end: letters, a digit, a run of marks. Its "'s" and the like are two of these,
# which does no harm: with both there are no more tokens than with the first.
_WORD = re.compile(r"[^\W\d_]+|\d|(?:[^\w\s]|_)+")


@dataclass(frozen=True)
class PromptView:
    """A prompt as several encoders read it.

    Attributes:
        text: the prompt.
        has_syntax: whether something in it can be read as a weight or a BREAK.
        encoders: for each reader its windows.
    """

    text: str
    has_syntax: bool
    encoders: tuple[tuple[TextReader, tuple[Window, ...]], ...]

    @property
    def emphasis(self) -> list[Piece]:
        """The pieces that have a weight other than 1."""
        windows = self.encoders[0][1]
        pieces = [piece for window in windows for piece in window.section]
        return [piece for piece in pieces if piece.weight != 1 and piece.text.strip()]


def windows_of(text: str, reader: TextReader, *, weights: bool) -> tuple[Window, ...]:
    """Return the windows of a prompt; one, unless weights are read and there is a BREAK."""
    sections = parse_prompt(text) if weights else unweighted(text)
    return tuple(Window(section, reader) for section in sections)


def view_prompt(text: str, readers: Sequence[TextReader], *, weights: bool = True) -> PromptView:
    """Return what each reader makes of a prompt.

    Args:
        text: the prompt.
        readers: at least one.
        weights: whether (word:1.3) and BREAK mean something, as in `encode`, or are plain text,
            as when a pipeline is called with the prompt.
    """
    assert readers
    return PromptView(
        text=text,
        has_syntax=bool(text) and parse_prompt(text) != unweighted(text),
        encoders=tuple((reader, windows_of(text, reader, weights=weights)) for reader in readers),
    )


def as_json(view: PromptView) -> dict[str, Any]:
    """Return everything about a prompt, for programs to read."""
    return {
        "text": view.text,
        "encoders": [
            {
                "name": reader.name,
                "context_length": reader.context_length,
                "windows": [_window_as_json(window) for window in windows],
            }
            for reader, windows in view.encoders
        ],
    }


def _window_as_json(window: Window) -> dict[str, Any]:
    limits = _limits(window.reader)
    cuts = {limit: window.cut_at(limit) for limit in limits}
    return {
        "text": window.text,
        "weights": [{"text": piece.text, "weight": piece.weight} for piece in window.section],
        "count": window.count,
        "ids": window.ids,
        "tokens": [piece.strip() for piece in window.pieces],
        "limits": {
            str(limit): {
                "tokens_cut": max(0, window.count - limit),
                "read": window.text[:cut].strip(),
                "cut": window.text[cut:].strip(),
            }
            for limit, cut in cuts.items()
        },
        "sentences": [
            {
                "text": sentence.text,
                "first": sentence.first,
                "last": sentence.last,
                "tokens": sentence.last - sentence.first + 1,
                "read": {str(limit): sentence.read(limit) for limit in limits},
            }
            for sentence in window.sentences()
        ],
    }


def _limits(reader: TextReader) -> list[int]:
    """Return the context lengths at which a cut is shown: CLIP's, Long-CLIP's, the reader's own."""
    return sorted({STOCK_CONTEXT, LONG_CONTEXT, reader.context_length})


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
            "Read like this by `longclip generate --weights`; without --weights, brackets and "
            "BREAK are plain text, which `longclip prompt --no-weights` shows."
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
    cuts = [limit - SPECIAL_TOKENS for limit in _limits(window.reader) if window.count > limit]
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
    limits = _limits(window.reader)
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
