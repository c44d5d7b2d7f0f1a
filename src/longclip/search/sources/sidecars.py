"""Captions in files beside an image: `sea.txt` or `sea.json` for `sea.jpg`."""

import json
from typing import Any

CAPTION_SUFFIXES = (".txt", ".json")
"""The first that is there counts."""
_KEYS = ("caption", "description", "text")
LARGEST = 64 << 10
"""Bytes that are read of such a file. A description has a hundredth of that."""


def caption_of(content: bytes, suffix: str) -> str | None:
    """The text in such a file; None where there is none, or the JSON is damaged."""
    text = content.decode("utf-8-sig", errors="replace").strip()
    if suffix == ".txt":
        return text or None
    try:
        return caption_in(json.loads(text))
    except (ValueError, RecursionError):  # the latter where it is nested too deeply
        return None


def caption_in(fields: Any) -> str | None:
    """The first text under one of the usual keys; several texts are joined."""
    if not isinstance(fields, dict):
        return None
    for key in _KEYS:
        value = fields.get(key)
        texts = value if isinstance(value, list) else [value]
        found = " ".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
        if found:
            return found
    return None
