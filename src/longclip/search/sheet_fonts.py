"""Type for contact sheets: the font that comes with Pillow, or the system's for other scripts."""

import unicodedata
from collections.abc import Iterable

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_BUNDLED_CHARACTERS = frozenset(map(chr, range(32, 127))) | set("·“”‘’…")
_DASHES = str.maketrans("–—", "--")
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
)


def font_for(texts: Iterable[str], size: int) -> Font:
    """A font of `size` pixels that has the characters of `texts`, as far as there is one."""
    used = set("".join(texts)) - set("\n\r\t")
    for name in () if used <= _BUNDLED_CHARACTERS else _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def drawable(text: str, font: Font) -> str:
    """The text on one line, without what the font would show as boxes."""
    text = " ".join(text.split())
    if not isinstance(font, ImageFont.FreeTypeFont) or font.getname()[0] != "Aileron":
        return "".join(c for c in text if c.isprintable())
    letters = unicodedata.normalize("NFD", text.translate(_DASHES))
    kept = (c for c in letters if not unicodedata.combining(c))
    return "".join(c if c in _BUNDLED_CHARACTERS else "?" for c in kept)


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """Lines of at most `width` pixels; words that are longer are cut."""
    lines = [""]
    for word in drawable(text, font).split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines += [""] * bool(lines[-1])
            lines[-1] = shortened(word, font, width)
    return lines


def shortened(text: str, font: Font, width: float) -> str:
    """The text with its middle left out where it is too wide: ends of names tell files apart."""
    text = drawable(text, font)
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        candidate = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
        if font.getlength(candidate) <= width:
            return candidate
    return "…"
