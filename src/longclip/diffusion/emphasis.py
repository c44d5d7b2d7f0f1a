r"""Emphasis in prompts: `(word:1.3)`, `[word]`, `BREAK`, as the Stable Diffusion web UI reads them.

- `(word)` multiplies a text's weight by 1.1, `[word]` divides it by 1.1, `(word:1.3)` multiplies it
  by 1.3. Brackets nest and their weights multiply: `((word))` has 1.21.
- `\(`, `\)`, `\[`, `\]` and `\\` are the characters themselves.
- `BREAK`, in capitals and a word of its own, starts a new window of tokens.
- What is still open at the end is closed there; a bracket that closes nothing is text.
- Weights go from -1,000 to 1,000, which is 72 round brackets; beyond them a prompt is refused.

Where this differs from the programs people know:

- AUTOMATIC1111's web UI drops a backslash that escapes nothing; here it stays. There, a BREAK
  within brackets is read as a word; here it breaks. Its `[from:to:when]`, `[a|b]`, `AND` and
  `<lora:…>` are no matter of emphasis: they are text here.
- ComfyUI knows round brackets only, and there the inner one of two written weights replaces the
  outer one where here they multiply: `((word:1.3))` has 1.3 there and 1.43 here. It has no BREAK.
"""

import re
from dataclasses import dataclass, field

from longclip.errors import UsageError

MAX_WEIGHT = 1000
"""The largest weight of a word, up or down; half precision ends at 65,504."""

# Factors of a pair of brackets without a number.
_FACTOR = {"(": 1.1, "[": 1 / 1.1}

# No two parts of this may match the same run of characters: each way to share out a long run of
# blanks or digits would be tried.
_MARK = re.compile(
    r"\\[()\[\]\\]"
    r"|:\s*(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)"
    r"|[()\[\]]"
    r"|(?:(?<!\s)\s+)?\bBREAK\b\s*"
)


@dataclass(frozen=True)
class Piece:
    """A part of a prompt, without its marks, and the weight of its words."""

    text: str
    weight: float = 1.0


Section = tuple[Piece, ...]
"""The pieces between two BREAKs, in order."""


@dataclass(eq=False)
class _Opening:
    bracket: str
    factor: float


@dataclass(eq=False)
class _Closing:
    bracket: str


def parse_prompt(prompt: str) -> tuple[Section, ...]:
    """Split a prompt at its BREAKs into sections, each of which starts a window of its own.

    Neighbours of the same weight are one piece, so that a prompt without marks is one section of
    one piece, word for word. A section may be empty: a prompt that starts with BREAK starts with an
    empty window. Nothing after the last BREAK is no section. There is always at least one.

    Raises:
        UsageError: where a word's weight is beyond MAX_WEIGHT.
    """
    found: list[str | _Opening | _Closing | None] = []  # None is a BREAK
    opened: dict[str, list[_Opening]] = {"(": [], "[": []}
    at = 0
    for match in _MARK.finditer(prompt):
        found.append(prompt[at : match.start()])
        at = match.end()
        mark = match.group()
        if mark in opened:
            opening = _Opening(mark, _FACTOR[mark])
            opened[mark].append(opening)
            found.append(opening)
        elif mark.startswith("\\"):
            found.append(mark[1:])
        elif mark.strip() == "BREAK":
            found.append(None)
        else:
            bracket = "[" if mark == "]" else "("
            weight = match["weight"]
            if opened[bracket]:
                opening = opened[bracket].pop()
                opening.factor = float(weight) if weight else opening.factor
                found.append(_Closing(bracket))
            else:
                found.append(mark)
    found.append(prompt[at:])
    return _sections(found)


def unweighted(text: str) -> tuple[Section, ...]:
    """Return a text as it stands, brackets and all: one section of one piece."""
    return ((Piece(text),),)


@dataclass(eq=False)
class _Run:
    """Texts one after the other that have the same weight."""

    weight: float
    texts: list[str] = field(default_factory=list)


def _sections(found: list[str | _Opening | _Closing | None]) -> tuple[Section, ...]:
    sections: list[list[_Run]] = [[]]
    # Weights of what is open, of either bracket, as a round one may close within a square one.
    weights = {"(": [1.0], "[": [1.0]}
    for part in found:
        if part is None:
            sections.append([])
        elif isinstance(part, _Opening):
            weights[part.bracket].append(weights[part.bracket][-1] * part.factor)
        elif isinstance(part, _Closing):
            weights[part.bracket].pop()
        elif part:
            weight = weights["("][-1] * weights["["][-1]
            if not abs(weight) <= MAX_WEIGHT:
                raise UsageError(
                    f"the prompt gives {part.strip()[:40]!r} the weight {weight:.6g}; weights go "
                    f"from -{MAX_WEIGHT:,} to {MAX_WEIGHT:,}: take brackets away, or write \\( for "
                    "a bracket of the text"
                )
            if not (sections[-1] and sections[-1][-1].weight == weight):
                sections[-1].append(_Run(weight))
            sections[-1][-1].texts.append(part)
    pieces = [tuple(Piece("".join(r.texts), r.weight) for r in section) for section in sections]
    if len(pieces) > 1 and not any(piece.text.strip() for piece in pieces[-1]):
        pieces.pop()
    return tuple(pieces)
