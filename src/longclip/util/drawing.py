"""Type and colours of drawn pages.

The font is the one that comes with Pillow, or the system's for other scripts.
"""

import unicodedata
from collections.abc import Iterable

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 30, 33)
GREY: Colour = (104, 108, 114)
"""Ink of what matters less."""

_BUNDLED = "Aileron"
_BUNDLED_CHARACTERS = frozenset(map(chr, range(32, 127))) | set("·“”‘’…")
_DASHES = str.maketrans("–—", "--")
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
)


def font_for(texts: Iterable[str], size: int) -> Font:
    """Return a font of `size` pixels with the characters of `texts`, as far as there is one."""
    used = set("".join(texts)) - set("\n\r\t")
    for name in () if used <= _BUNDLED_CHARACTERS else _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def drawable(text: str, font: Font) -> str:
    """Return the text without what the font would show as boxes; spaces stay as they are."""
    if not isinstance(font, ImageFont.FreeTypeFont) or font.getname()[0] != _BUNDLED:
        return "".join(c for c in text if c.isprintable())
    letters = unicodedata.normalize("NFD", text.translate(_DASHES))
    kept = (c for c in letters if not unicodedata.combining(c))
    return "".join(c if c in _BUNDLED_CHARACTERS else "?" for c in kept)


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """Return lines of at most `width` pixels; words that are longer are cut."""
    lines = [""]
    for word in drawable(_on_one_line(text), font).split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines += [""] * bool(lines[-1])
            lines[-1] = shortened(word, font, width)
    return lines


def shortened(text: str, font: Font, width: float) -> str:
    """Leave out the middle of a text that is too wide: ends of names tell files apart."""
    text = drawable(_on_one_line(text), font)
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        candidate = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
        if font.getlength(candidate) <= width:
            return candidate
    return "…"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
