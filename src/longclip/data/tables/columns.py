"""Meaning of the columns of a table: which hold pictures, texts and labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from longclip.data.tables.rows import as_text


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold pictures, texts and labels; None for the usual names."""

    image: str | None = None
    """Pictures (embedded, or paths relative to the file): image, file_name, path, img, jpg …"""
    short: str | None = None
    """Short captions, one or a list: short, captions, caption, sentences, text, txt."""
    long: str | None = None
    """Long descriptions, one or a list: long, long_caption, description."""
    label: str | None = None
    """Class names or class numbers: label."""


USUAL = {
    "image": (
        *("image", "file_name", "path", "img", "filename", "filepath"),
        *("jpg", "jpeg", "png", "webp"),  # members of a tar shard, as columns
    ),
    "short": ("short", "captions", "caption", "sentences", "text", "txt"),
    "long": ("long", "long_caption", "description"),
    "label": ("label",),
}
"""The usual names of each column of `Columns` in any case, the first one in a table is taken."""

ADDRESSES = frozenset({"url", "urls", "image_url", "img_url"})
"""Names, in lower case, of columns with addresses of pictures."""


def usual_columns(role: str, names: Iterable[str]) -> list[str]:
    """Return the columns that have a usual name of a role of `Columns`, the likeliest first.

    Case and blanks around a name do not matter.
    """
    place = {usual: i for i, usual in enumerate(USUAL[role])}
    found = ((place.get(name.strip().casefold()), name not in place, name) for name in names)
    return [name for _, _, name in sorted(one for one in found if one[0] is not None)]


def usual_column(role: str, names: Iterable[str]) -> str | None:
    """Return the first of `usual_columns`; None where there is none."""
    return next(iter(usual_columns(role, names)), None)


def strings(value: Any) -> tuple[str, ...]:
    """Return one text or a list of them as a tuple, without what is empty or no text.

    A number, a truth value or a date is the text that would stand for it in a file.
    """
    values = value if isinstance(value, list | tuple) else [value]
    texts = (as_text(own) for own in values)
    return tuple(text for text in texts if text is not None and text.strip())
