"""Lines of text that fit a contact sheet."""

from longclip._fonts import Font, drawable


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
    """Leave out the middle of a text that is too wide: ends of names distinguish files."""
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
