"""Names of files as a terminal may be shown them."""


def plain_text(text: str) -> str:
    """`text`, in which nothing can end a line, colour it or move the cursor."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
