"""Captions in files beside an image: `sea.txt` or `sea.json` for `sea.jpg`."""

import json
import os
from collections.abc import Callable
from typing import Any

CAPTION_SUFFIXES = (".txt", ".json")
"""The first that is there counts."""
_KEYS = ("caption", "description", "text")
MAX_CAPTION_BYTES = 64 << 10
"""A description has a hundredth of that; the rest of a larger file is not read."""


def caption_beside(image: str, is_there: Callable[[str], bool]) -> str | None:
    """Return the name of the file with an image's text; old disks write `SEA.TXT`."""
    stem = os.path.splitext(image)[0]
    names = (stem + case for suffix in CAPTION_SUFFIXES for case in (suffix, suffix.upper()))
    return next(filter(is_there, names), None)


def caption_of(content: bytes, name: str) -> str | None:
    """Return the text in a file of this name; None where there is none, or the JSON is damaged."""
    text = content.decode("utf-8-sig", errors="replace").strip()
    if name.lower().endswith(".txt"):
        return text or None
    try:
        return caption_in(json.loads(text))
    except (ValueError, RecursionError):  # the latter where it is nested too deeply
        return None


def caption_in(fields: Any) -> str | None:
    """Return the first text under one of the usual keys; several texts are joined."""
    if not isinstance(fields, dict):
        return None
    for key in _KEYS:
        value = fields.get(key)
        texts = value if isinstance(value, list) else [value]
        found = " ".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
        if found:
            return found
    return None
