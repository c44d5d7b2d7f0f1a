r"""Emphasis in prompts: `(word:1.3)`, `[word]`, `BREAK`, as the Stable Diffusion web UI reads them.

- `(word)` multiplies a text's weight by 1.1, `[word]` divides it by 1.1, `(word:1.3)` multiplies it
  by 1.3. Brackets nest and their weights multiply: `((word))` has 1.21.
- `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves.
- `BREAK`, in capitals and a word of its own, starts a new window of tokens.
- What is still open at the end is closed there; a bracket that closes nothing is text.

Where this differs from the programs people know:

- AUTOMATIC1111's web UI drops a backslash that escapes nothing; here it stays. There, a BREAK
  within brackets is read as a word; here it breaks. Its `[from:to:when]`, `[a|b]`, `AND` and
  `<lora:…>` are no matter of emphasis: they are text here.
- ComfyUI knows round brackets only, and there the inner one of two written weights replaces the
  outer one where here they multiply: `((word:1.3))` has 1.3 there and 1.43 here. It has no BREAK.
"""

import re
from dataclasses import dataclass, replace

# Factors of a pair of brackets without a number.
_FACTOR = {"(": 1.1, "[": 1 / 1.1}

_MARK = re.compile(
    r"\\[()\[\]\\]"
    r"|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|[()\[\]]"
    r"|\s*\bBREAK\b\s*"
)


@dataclass(frozen=True)
class Piece:
    """A part of a prompt, without its marks, and the weight of its words."""

    text: str
    weight: float = 1.0


Section = tuple[Piece, ...]
"""The pieces between two BREAKs, in order."""


def parse_prompt(prompt: str) -> tuple[Section, ...]:
    """Split a prompt at its BREAKs into sections, each of which starts a window of its own.

    Neighbours of the same weight are one piece, so that a prompt without marks is one section of
    one piece, word for word. A section may be empty: a prompt that starts with BREAK starts with an
    empty window. Nothing after the last BREAK is no section. There is always at least one.
    """
    found: list[Piece | None] = []  # None is a BREAK
    opened: dict[str, list[int]] = {"(": [], "[": []}
    at = 0
    for match in _MARK.finditer(prompt):
        found.append(Piece(prompt[at : match.start()]))
        at = match.end()
        mark = match.group()
        if mark in opened:
            opened[mark].append(len(found))
        elif mark.startswith("\\"):
            found.append(Piece(mark[1:]))
        elif mark.strip() == "BREAK":
            found.append(None)
        else:
            bracket = "[" if mark == "]" else "("
            weight = match["weight"]
            if opened[bracket]:
                factor = float(weight) if weight else _FACTOR[bracket]
                _multiply(found, opened[bracket].pop(), factor)
            else:
                found.append(Piece(mark))
    found.append(Piece(prompt[at:]))
    for bracket, starts in opened.items():
        for start in starts:
            _multiply(found, start, _FACTOR[bracket])
    return _sections(found)


def unweighted(text: str) -> tuple[Section, ...]:
    """Return a text as it stands, brackets and all: one section of one piece."""
    return ((Piece(text),),)


def _multiply(found: list[Piece | None], start: int, factor: float) -> None:
    for index in range(start, len(found)):
        piece = found[index]
        if piece is not None:
            found[index] = replace(piece, weight=piece.weight * factor)


def _sections(found: list[Piece | None]) -> tuple[Section, ...]:
    sections: list[list[Piece]] = [[]]
    for piece in found:
        if piece is None:
            sections.append([])
        elif piece.text and sections[-1] and sections[-1][-1].weight == piece.weight:
            sections[-1][-1] = replace(piece, text=sections[-1][-1].text + piece.text)
        elif piece.text:
            sections[-1].append(piece)
    if len(sections) > 1 and not any(piece.text.strip() for piece in sections[-1]):
        sections.pop()
    return tuple(map(tuple, sections))
