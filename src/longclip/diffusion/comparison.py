"""Two pictures of one prompt side by side, over the prompt with what was cut from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from longclip.util.drawing import GREY, INK, PAPER, Colour, Font, drawable, font_for, wrapped

Fate = Literal["both", "right", "none"]

_FRAME: Colour = (226, 226, 222)
# Words by who reads them: the ink, and what is behind it. Told apart by lightness, too.
_INKS: dict[Fate, Colour] = {"both": INK, "right": (166, 58, 0), "none": (150, 152, 156)}
_GROUNDS: dict[Fate, Colour] = {
    "both": PAPER,
    "right": (255, 232, 208),
    "none": (238, 238, 236),
}
_LEAST_WIDTH = 448


@dataclass(frozen=True)
class Side:
    """One of the two pictures.

    Attributes:
        title: whose it is.
        image: the picture.
        tokens: tokens of the prompt, without begin and end.
        tokens_read: how many of them were read for it.
        read_to: for each text of the prompt, up to which character it was read.
    """

    title: str
    image: Image.Image
    tokens: int
    tokens_read: int
    read_to: tuple[int, ...]

    @property
    def subtitle(self) -> str:
        """How much of the prompt it shows."""
        if self.tokens_read == self.tokens:
            return f"reads the whole prompt, {self.tokens} tokens"
        cut = self.tokens - self.tokens_read
        return f"reads {self.tokens_read} of the prompt's {self.tokens} tokens; {cut} are cut off"


@dataclass(frozen=True)
class _Run:
    """Words that stand together and have the same fate; `spaced` if a space comes before."""

    text: str
    fate: Fate
    spaced: bool


@dataclass(frozen=True)
class _Scale:
    """Sizes in pixels, for pictures of some width."""

    margin: int
    title: Font
    body: Font
    small: Font
    line: int


def side_by_side(left: Side, right: Side, texts: Sequence[str], footer: str) -> Image.Image:
    """The two pictures with their captions, and the prompt below.

    Args:
        left: the picture of the encoder that reads less.
        right: that of the encoder that reads more.
        texts: the prompt, in its parts between BREAKs.
        footer: how both were made.

    Returns:
        An RGB picture, a little wider than the two.
    """
    panel = max(left.image.width, right.image.width, _LEAST_WIDTH)
    scale = _scale(panel, [*texts, footer])
    width = 2 * panel + 3 * scale.margin
    inner = width - 2 * scale.margin
    lines = _wrapped(_runs(texts, left.read_to, right.read_to), scale.body, inner)
    notes = wrapped(footer, scale.small, inner)
    top = scale.margin + 2 * scale.line + scale.line // 2
    below = top + max(left.image.height, right.image.height) + scale.margin
    height = below + (len(lines) + 2) * scale.line + len(notes) * scale.line + 2 * scale.margin
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for side, x in ((left, scale.margin), (right, 2 * scale.margin + panel)):
        _draw_side(canvas, draw, side, (x, scale.margin), top, panel, scale)
    y = below
    for line in lines:
        _draw_line(draw, line, (scale.margin, y), scale)
        y += scale.line
    y += scale.line // 2
    _draw_legend(draw, left, right, (scale.margin, y), scale)
    y += scale.line + scale.margin // 2
    draw.line((scale.margin, y, width - scale.margin, y), fill=_FRAME)
    y += scale.margin // 2
    for note in notes:
        draw.text((scale.margin, y), note, font=scale.small, fill=GREY)
        y += scale.line
    return canvas.crop((0, 0, width, y + scale.margin // 2))


def _scale(panel: int, texts: Sequence[str]) -> _Scale:
    size = max(15, min(30, round(panel / 32)))
    return _Scale(
        margin=round(1.4 * size),
        title=font_for(texts, round(1.35 * size)),
        body=font_for(texts, size),
        small=font_for(texts, round(0.85 * size)),
        line=round(1.5 * size),
    )


def _runs(texts: Sequence[str], left: Sequence[int], right: Sequence[int]) -> list[_Run]:
    runs = []
    for text, first, second in zip(texts, left, right, strict=True):
        parts: tuple[tuple[str, Fate], ...] = (
            (text[:first], "both"),
            (text[first : max(first, second)], "right"),
            (text[max(first, second) :], "none"),
        )
        spaced = True
        for part, fate in parts:
            for word in part.split():
                starts = part[0].isspace() or word != part.split()[0] or spaced
                runs.append(_Run(word, fate, starts))
                spaced = True
            if part:
                spaced = part[-1].isspace()
    return runs


def _wrapped(runs: Sequence[_Run], font: Font, width: int) -> list[list[_Run]]:
    lines: list[list[_Run]] = [[]]
    used = 0.0
    for run in runs:
        length = font.getlength(drawable(f" {run.text}" if run.spaced else run.text, font))
        if used + length > width and lines[-1] and run.spaced:
            lines.append([])
            used = 0.0
        lines[-1].append(run)
        used += length
    return lines


def _draw_side(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    side: Side,
    at: tuple[int, int],
    top: int,
    panel: int,
    scale: _Scale,
) -> None:
    x, y = at
    draw.text((x, y), drawable(side.title, scale.title), font=scale.title, fill=INK)
    whole = side.tokens_read == side.tokens
    ink = GREY if whole else _INKS["right"]
    draw.text((x, y + scale.line * 1.1), side.subtitle, font=scale.body, fill=ink)
    inset = (panel - side.image.width) // 2
    if inset:
        draw.rectangle((x, top, x + panel - 1, top + side.image.height - 1), fill=_FRAME)
    canvas.paste(side.image.convert("RGB"), (x + inset, top))


def _placed(line: Sequence[_Run], x: float, font: Font) -> Iterator[tuple[_Run, str, float, float]]:
    """Each run with what is drawn of it, where that starts, and where it ends."""
    for index, run in enumerate(line):
        text = drawable(f" {run.text}" if run.spaced and index else run.text, font)
        end = x + font.getlength(text)
        yield run, text, x, end
        x = end


def _draw_line(
    draw: ImageDraw.ImageDraw, line: Sequence[_Run], at: tuple[int, int], scale: _Scale
) -> None:
    x, y = at
    space = scale.body.getlength(" ")
    before: Fate = "both"
    placed = list(_placed(line, x, scale.body))
    for index, (run, _, start, end) in enumerate(placed):
        # Between two marked words the ground goes on; before the first there is none.
        inner = start + (space if run.spaced and index and before != run.fate else 0)
        if run.fate != "both":
            ground = (inner - 1, y - 1, end + 1, y + scale.line - 4)
            draw.rectangle(ground, fill=_GROUNDS[run.fate])
        before = run.fate
    for run, text, start, _ in placed:
        draw.text((start, y), text, font=scale.body, fill=_INKS[run.fate])


def _draw_legend(
    draw: ImageDraw.ImageDraw, left: Side, right: Side, at: tuple[int, int], scale: _Scale
) -> None:
    x, y = float(at[0]), at[1]
    words: dict[Fate, str] = {"both": "read by both"}
    if left.tokens_read < right.tokens_read:
        words["right"] = "cut off on the left, read on the right"
    if right.tokens_read < right.tokens:
        words["none"] = "read by neither"
    if len(words) == 1:
        words["both"] = "both read the whole prompt"
    side = scale.line // 2
    for fate, text in words.items():
        box = (x, y + side // 4, x + side, y + side // 4 + side)
        draw.rectangle(box, fill=_INKS[fate] if fate == "both" else _GROUNDS[fate])
        draw.rectangle(box, outline=_INKS[fate])
        draw.text((x + 1.5 * side, y), text, font=scale.small, fill=_INKS[fate])
        x += 1.5 * side + scale.small.getlength(text) + 2 * side
