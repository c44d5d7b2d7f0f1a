"""Contact sheet: what was found as one picture, with the sentences each image satisfies."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageOps

from longclip.image.decode import open_image
from longclip.search.query.print import nothing_found, summary
from longclip.search.query.query import Found, FoundImage
from longclip.search.query.sentence_scores import LEGEND, MEANINGS, Verdict, verdict
from longclip.util.drawing import (
    GREY,
    INK,
    PAPER,
    Colour,
    Font,
    drawable,
    font_for,
    shortened,
    wrapped,
)

_GROUND: Colour = (240, 240, 237)
_RULE: Colour = (214, 214, 210)


class _Chip(NamedTuple):
    fill: Colour
    outline: Colour
    ink: Colour
    struck: bool


# They differ in lightness and by a stroke, too: not everybody sees red and green.
_CHIPS: dict[Verdict, _Chip] = {
    "yes": _Chip((22, 101, 52), (22, 101, 52), (255, 255, 255), False),
    "some": _Chip((220, 238, 226), (22, 101, 52), (22, 101, 52), False),
    "open": _Chip((228, 228, 224), (228, 228, 224), GREY, False),
    "no": _Chip((255, 255, 255), (190, 74, 60), (190, 74, 60), True),
}

# All in pixels.
_BOX = 240
_GAP = 20
_MARGIN = 32
_LINE = 22
_CHIP = 24
_CHIP_STEP = _CHIP + 4
_CHIPS_PER_ROW = (_BOX + 4) // _CHIP_STEP

_MAX_COLUMNS = 6
_MIN_COLUMNS = 3
_MAX_HEADER_LINES = 40
"""Lines of a description; what is longer is cut in the picture."""

_MAX_HEADER_CHARACTERS = 300 * _MAX_HEADER_LINES
"""More characters than these lines hold."""


@dataclass(frozen=True)
class _Fonts:
    title: Font
    body: Font
    small: Font


def picture(jpeg: bytes) -> Image.Image:
    """Decode a thumbnail."""
    with open_image(io.BytesIO(jpeg)) as opened:
        return opened.convert("RGB")


def contact_sheet(
    found: Found,
    thumbnails: Mapping[str, bytes],
    *,
    text: str = "",
    without: Sequence[str] = (),
    image: Image.Image | None = None,
) -> Image.Image:
    """Draw a grid of what was found, best first, under what was asked.

    Args:
        found: the answer.
        thumbnails: JPEG files by image id; a missing one leaves its place empty.
        text: of the query.
        without: its negative texts.
        image: its picture.

    Returns:
        An RGB picture.
    """
    names = [hit.facts.name for hit in found.hits]
    texts = [text, *without, *names]
    fonts = _Fonts(font_for(texts, 19), font_for(texts, 16), font_for(texts, 14))
    # About as many columns as rows, as far as that is readable.
    square = next(n for n in range(1, len(found.hits) + 2) if n * n >= len(found.hits))
    columns = max(_MIN_COLUMNS, min(square, _MAX_COLUMNS))
    width = 2 * _MARGIN + columns * _BOX + (columns - 1) * _GAP
    header = _header(found, text, without, image, width - 2 * _MARGIN, fonts)
    sentences = max((len(hit.sentences) for hit in found.hits), default=0)
    height = _BOX + 2 * _LINE + 8 + -(-sentences // _CHIPS_PER_ROW) * _CHIP_STEP
    rows = -(-len(found.hits) // columns)
    top = 2 * _MARGIN + header.height
    canvas = Image.new("RGB", (width, top + rows * (height + _GAP) + _MARGIN), PAPER)
    canvas.paste(header, (_MARGIN, _MARGIN))
    below = top - _MARGIN // 2
    ImageDraw.Draw(canvas).line((_MARGIN, below, width - _MARGIN, below), fill=_RULE)
    for place, hit in enumerate(found.hits):
        row, column = divmod(place, columns)
        at = (_MARGIN + column * (_BOX + _GAP), top + row * (height + _GAP))
        _draw_cell(canvas, at, place + 1, hit, thumbnails.get(hit.facts.id), fonts)
    return canvas


def _header(
    found: Found,
    text: str,
    without: Sequence[str],
    image: Image.Image | None,
    width: int,
    fonts: _Fonts,
) -> Image.Image:
    """Draw what was asked, and what the marks mean."""
    left = _BOX + _GAP if image else 0
    lines = list(_header_lines(found, text, without, width - left, fonts))
    scored = any(hit.sentences for hit in found.hits)
    notes = [line for note in found.notes for line in wrapped(note, fonts.small, width - left)]
    height = (len(lines) + 1 + len(notes)) * _LINE + 8 + (2 * _LINE + 14) * scored
    height = max(height, _BOX) if image else height
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    if image:
        _paste_fitted(canvas, image, (0, 0))
    y = 0
    for number, line in lines:
        if number:
            draw.text((left, y), number, font=fonts.small, fill=GREY)
        indent = 34 if found.sentences and scored else 0
        draw.text((left + indent, y), line, font=fonts.body, fill=INK)
        y += _LINE
    y += 8
    words = summary(found) if found.hits else nothing_found(found)
    for line in (words, *notes):
        draw.text((left, y), drawable(line, fonts.small), font=fonts.small, fill=GREY)
        y += _LINE
    if scored:
        draw.text((left, y + 8), LEGEND, font=fonts.small, fill=GREY)
        x, y = left, y + _LINE + 8
        for kind, meaning in MEANINGS.items():
            _draw_chip(draw, (x, y), "n", kind, fonts)
            draw.text((x + _CHIP + 8, y + 4), meaning, font=fonts.small, fill=GREY)
            x += round(_CHIP + 8 + fonts.small.getlength(meaning) + _GAP)
    return canvas


def _header_lines(
    found: Found, text: str, without: Sequence[str], width: int, fonts: _Fonts
) -> Iterator[tuple[str, str]]:
    """Yield lines of the description, with the number of the sentence before its first one."""
    scored = any(hit.sentences for hit in found.hits)
    lines: list[tuple[str, str]] = []
    if scored:
        for number, sentence in enumerate(found.sentences[:_MAX_HEADER_LINES], 1):
            first, *others = wrapped(sentence[:_MAX_HEADER_CHARACTERS], fonts.body, width - 34)
            lines += [(str(number), first), *(("", line) for line in others)]
    elif text.strip():
        lines += [("", line) for line in wrapped(text[:_MAX_HEADER_CHARACTERS], fonts.body, width)]
    for negative in without:
        words = f"not: {negative[:_MAX_HEADER_CHARACTERS]}"
        lines += [("", line) for line in wrapped(words, fonts.body, width - 34)]
    yield from lines[:_MAX_HEADER_LINES]
    if len(lines) > _MAX_HEADER_LINES or len(found.sentences) > _MAX_HEADER_LINES:
        yield "", "…"


def _draw_chip(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], label: str, kind: Verdict, fonts: _Fonts
) -> None:
    x, y = at
    chip = _CHIPS[kind]
    box = (x, y, x + _CHIP - 1, y + _CHIP - 1)
    draw.rounded_rectangle(box, radius=5, fill=chip.fill, outline=chip.outline)
    if chip.struck:
        draw.line((x + 3, y + _CHIP - 4, x + _CHIP - 4, y + 3), fill=(240, 205, 199), width=2)
    draw.text((x + _CHIP / 2, y + _CHIP / 2), label, font=fonts.small, fill=chip.ink, anchor="mm")


def _draw_cell(
    canvas: Image.Image,
    at: tuple[int, int],
    rank: int,
    hit: FoundImage,
    thumbnail: bytes | None,
    fonts: _Fonts,
) -> None:
    x, y = at
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((x, y, x + _BOX - 1, y + _BOX - 1), fill=_GROUND)
    if thumbnail:
        _paste_fitted(canvas, picture(thumbnail), at)
    y += _BOX + 6
    draw.text((x, y), str(rank), font=fonts.title, fill=INK)
    score = f"{hit.similarity:.3f}"
    draw.text((x + _BOX, y + 2), score, font=fonts.body, fill=GREY, anchor="ra")
    if hit.also:
        copies = "+1 copy" if len(hit.also) == 1 else f"+{len(hit.also)} copies"
        draw.text((x + 34, y + 3), copies, font=fonts.small, fill=GREY)
    y += _LINE
    name = shortened(hit.facts.name, fonts.small, _BOX)
    draw.text((x, y), name, font=fonts.small, fill=INK)
    y += _LINE
    for place, score_of_sentence in enumerate(hit.sentences):
        row, column = divmod(place, _CHIPS_PER_ROW)
        corner = (x + column * _CHIP_STEP, y + row * _CHIP_STEP)
        _draw_chip(draw, corner, str(place + 1), verdict(score_of_sentence), fonts)


def _paste_fitted(canvas: Image.Image, image: Image.Image, at: tuple[int, int]) -> None:
    """Paste a picture as large as it fits into the box, in its middle."""
    shown = ImageOps.contain(image.convert("RGB"), (_BOX, _BOX))
    inset_x, inset_y = (_BOX - shown.width) // 2, (_BOX - shown.height) // 2
    canvas.paste(shown, (at[0] + inset_x, at[1] + inset_y))
