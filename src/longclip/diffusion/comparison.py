"""Comparison of two pictures: side by side, over their prompt with what was cut from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

from longclip.util.drawing import GREY, INK, PAPER, Colour, Font, drawable, font_for, wrapped

Readers = Literal["both", "right", "none"]
"""Sides that read a word; the left one never reads more than the right one."""

_FRAME: Colour = (226, 226, 222)
# Ink of words and the ground behind it. They differ in lightness, too, for the colour-blind.
_INK_BY: dict[Readers, Colour] = {"both": INK, "right": (166, 58, 0), "none": (150, 152, 156)}
_GROUND_BY: dict[Readers, Colour] = {
    "both": PAPER,
    "right": (255, 232, 208),
    "none": (238, 238, 236),
}
_MIN_PANEL_WIDTH = 448


@dataclass(frozen=True)
class Side:
    """One of the two pictures.

    Attributes:
        title: the encoder that it was drawn with.
        image: the picture.
        tokens: tokens of the prompt, without begin and end.
        tokens_read: how many of them were read for it.
        read_to: for each text of the prompt, the index up to which it was read.
    """

    title: str
    image: Image.Image
    tokens: int
    tokens_read: int
    read_to: tuple[int, ...]

    @property
    def subtitle(self) -> str:
        """The share of the prompt that was read for it, in words."""
        if self.tokens_read == self.tokens:
            return f"reads the whole prompt, {self.tokens} tokens"
        cut = self.tokens - self.tokens_read
        return f"reads {self.tokens_read} of the prompt's {self.tokens} tokens; {cut} are cut off"


@dataclass(frozen=True)
class _Word:
    """A word, or a part of one that other sides read than its rest; then it is not `spaced`."""

    text: str
    read_by: Readers
    spaced: bool


@dataclass(frozen=True)
class _Scale:
    """Fonts, and sizes in pixels."""

    margin: int
    title: Font
    body: Font
    small: Font
    line: int

    @classmethod
    def of(cls, panel: int, texts: Sequence[str]) -> "_Scale":
        """Return what suits pictures `panel` pixels wide, in fonts that can write `texts`."""
        size = max(15, min(30, round(panel / 32)))
        return cls(
            margin=round(1.4 * size),
            title=font_for(texts, round(1.35 * size)),
            body=font_for(texts, size),
            small=font_for(texts, round(0.85 * size)),
            line=round(1.5 * size),
        )


def side_by_side(left: Side, right: Side, texts: Sequence[str], footer: str) -> Image.Image:
    """Draw two pictures with their captions, and the prompt below.

    Args:
        left: the picture of the encoder that reads less.
        right: the picture of the encoder that reads more.
        texts: the prompt, in its parts between BREAKs.
        footer: the settings that both were made with.

    Returns:
        An RGB picture, a little wider than the two.
    """
    panel = max(left.image.width, right.image.width, _MIN_PANEL_WIDTH)
    scale = _Scale.of(panel, [*texts, footer])
    width = 2 * panel + 3 * scale.margin
    inner = width - 2 * scale.margin
    lines = _wrapped(_words(texts, left.read_to, right.read_to), scale.body, inner)
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


def _words(texts: Sequence[str], left: Sequence[int], right: Sequence[int]) -> list[_Word]:
    """Return the words of a prompt, cut where either side ends to read it."""
    words = []
    for text, first, second in zip(texts, left, right, strict=True):
        parts: tuple[tuple[str, Readers], ...] = (
            (text[:first], "both"),
            (text[first : max(first, second)], "right"),
            (text[max(first, second) :], "none"),
        )
        spaced = True
        for part, read_by in parts:
            for word in part.split():
                starts = part[0].isspace() or word != part.split()[0] or spaced
                words.append(_Word(word, read_by, starts))
                spaced = True
            if part:
                spaced = part[-1].isspace()
    return words


def _wrapped(words: Sequence[_Word], font: Font, width: int) -> list[list[_Word]]:
    """Return lines of at most `width` pixels, if no word alone is longer."""
    lines: list[list[_Word]] = [[]]
    used = 0.0
    for word in words:
        length = font.getlength(drawable(f" {word.text}" if word.spaced else word.text, font))
        if used + length > width and lines[-1] and word.spaced:
            lines.append([])
            used = 0.0
        lines[-1].append(word)
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
    ink = GREY if whole else _INK_BY["right"]
    draw.text((x, y + scale.line * 1.1), side.subtitle, font=scale.body, fill=ink)
    inset = (panel - side.image.width) // 2
    if inset:
        draw.rectangle((x, top, x + panel - 1, top + side.image.height - 1), fill=_FRAME)
    canvas.paste(side.image.convert("RGB"), (x + inset, top))


def _draw_line(
    draw: ImageDraw.ImageDraw, line: Sequence[_Word], at: tuple[int, int], scale: _Scale
) -> None:
    x, y = float(at[0]), at[1]
    space = scale.body.getlength(" ")
    before: Readers = "both"
    placed = []
    # All grounds before all words: a letter may reach over the edge of its neighbour's ground.
    for index, word in enumerate(line):
        text = drawable(f" {word.text}" if word.spaced and index else word.text, scale.body)
        end = x + scale.body.getlength(text)
        placed.append((word, text, x))
        if word.read_by != "both":
            # Between two marked words the ground goes on; before the first there is none.
            start = x + (space if word.spaced and index and before != word.read_by else 0)
            ground = (start - 1, y - 1, end + 1, y + scale.line - 4)
            draw.rectangle(ground, fill=_GROUND_BY[word.read_by])
        before, x = word.read_by, end
    for word, text, start in placed:
        draw.text((start, y), text, font=scale.body, fill=_INK_BY[word.read_by])


def _draw_legend(
    draw: ImageDraw.ImageDraw, left: Side, right: Side, at: tuple[int, int], scale: _Scale
) -> None:
    x, y = float(at[0]), at[1]
    words: dict[Readers, str] = {"both": "read by both"}
    if left.tokens_read < right.tokens_read:
        words["right"] = "cut off on the left, read on the right"
    if right.tokens_read < right.tokens:
        words["none"] = "read by neither"
    if len(words) == 1:
        words["both"] = "both read the whole prompt"
    side = scale.line // 2
    for read_by, text in words.items():
        box = (x, y + side // 4, x + side, y + side // 4 + side)
        draw.rectangle(box, fill=_INK_BY[read_by] if read_by == "both" else _GROUND_BY[read_by])
        draw.rectangle(box, outline=_INK_BY[read_by])
        draw.text((x + 1.5 * side, y), text, font=scale.small, fill=_INK_BY[read_by])
        x += 1.5 * side + scale.small.getlength(text) + 2 * side
