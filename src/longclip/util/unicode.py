"""Texts that look the same and are written in different characters."""

import unicodedata


def unicode_forms(text: str) -> list[str]:
    """Return a text as it is, and with its accented letters composed and decomposed.

    macOS writes names of files decomposed, and keyboards write composed letters; both look alike.
    """
    forms = (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    return list(dict.fromkeys(forms))
