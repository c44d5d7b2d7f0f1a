"""Type for drawn pages: the font that comes with Pillow, or the system's for other scripts."""

import unicodedata
from collections.abc import Iterable

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

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
    """A font of `size` pixels that has the characters of `texts`, as far as there is one."""
    used = set("".join(texts)) - set("\n\r\t")
    for name in () if used <= _BUNDLED_CHARACTERS else _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def drawable(text: str, font: Font) -> str:
    """The text without what the font would show as boxes; spaces stay as they are."""
    if not isinstance(font, ImageFont.FreeTypeFont) or font.getname()[0] != _BUNDLED:
        return "".join(c for c in text if c.isprintable())
    letters = unicodedata.normalize("NFD", text.translate(_DASHES))
    kept = (c for c in letters if not unicodedata.combining(c))
    return "".join(c if c in _BUNDLED_CHARACTERS else "?" for c in kept)
