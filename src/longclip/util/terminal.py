"""Lines for people on a terminal or in a pipe."""

from rich.console import Console
from rich.text import Text


def print_line(console: Console, text: Text) -> None:
    """Print one line; in a pipe it stays one, whatever its length."""
    console.print(text, soft_wrap=not console.is_terminal, highlight=False)


def plain_text(text: str) -> str:
    """Return `text` in which nothing can end a line, colour it or move the cursor."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
