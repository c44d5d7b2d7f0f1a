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

A weight acts on the encoder's hidden states. These carry more than their own token, so no rule
follows from the model: the ones here are those that people know. All work in float32, and none
changes a bit where all weights are 1. In SDXL each encoder's states are weighted on their own.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

# What a pair of brackets without a number does to the weight.
_FACTOR = {"(": 1.1, "[": 1 / 1.1}

_MARK = re.compile(
    r"\\[()\[\]\\]"
    r"|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|[()\[\]]"
    r"|\s*\bBREAK\b\s*"
)


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt, without its marks, and the weight of its words."""

    text: str
    weight: float = 1.0


# The pieces between two BREAKs, in order.
Section = tuple[Piece, ...]


def parse_prompt(prompt: str) -> tuple[Section, ...]:
    """The sections of a prompt between its BREAKs; every section starts a window of its own.

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
    """A text that is taken as it stands, brackets and all: one section of one piece."""
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
        elif piece.text:
            _append(sections[-1], piece)
    if len(sections) > 1 and not any(piece.text.strip() for piece in sections[-1]):
        sections.pop()
    return tuple(map(tuple, sections))


def _append(section: list[Piece], piece: Piece) -> None:
    if section and section[-1].weight == piece.weight:
        section[-1] = replace(piece, text=section[-1].text + piece.text)
    else:
        section.append(piece)


Weighting = Literal["a1111", "no-norm", "comfyui"]


def scaled(hidden_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """States times their weights, then the whole window scaled back to the mean it had.

    The rule of AUTOMATIC1111's web UI ("Original" among its emphasis modes). The mean is over all
    tokens and channels of one prompt's window. The web UI takes it over a batch of different
    prompts, which makes a prompt depend on its neighbours; for one prompt the two are the same.

    Args:
        hidden_BTD: hidden states of one window of every prompt.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
    """
    states = hidden_BTD.float()
    heavier = states * weights_BT[..., None]
    mean = states.mean((1, 2), keepdim=True)
    restored = heavier * (mean / heavier.mean((1, 2), keepdim=True))
    weighted = (weights_BT != 1).any(1)[:, None, None]
    return torch.where(weighted, restored.to(hidden_BTD.dtype), hidden_BTD)


def multiplied(hidden_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """States times their weights, and nothing else.

    The web UI's "No norm" mode, which it recommends for SDXL: the mean of SDXL's states is near
    zero, and to restore it can scale a window by any factor.

    Args:
        hidden_BTD: hidden states of one window of every prompt.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
    """
    heavier = (hidden_BTD.float() * weights_BT[..., None]).to(hidden_BTD.dtype)
    return torch.where(weights_BT[..., None] != 1, heavier, hidden_BTD)


def drawn_from_empty(hidden_BTD: Tensor, weights_BT: Tensor, empty_1TD: Tensor) -> Tensor:
    """States moved away from the empty prompt's at the same place, or towards it.

    ComfyUI's rule: empty + weight · (state − empty).

    Args:
        hidden_BTD: hidden states of one window of every prompt.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
        empty_1TD: hidden states of the empty prompt.
    """
    empty = empty_1TD.float()
    drawn = empty + weights_BT[..., None] * (hidden_BTD.float() - empty)
    return torch.where(weights_BT[..., None] != 1, drawn.to(hidden_BTD.dtype), hidden_BTD)
