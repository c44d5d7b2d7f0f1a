"""Rendering of pages from the templates beside this file: no script, one file to send.

Also the pictures and marked descriptions that a gallery shows.
"""

import base64
import functools
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from longclip.evaluation.disagreements import Evidence, GalleryQuery, Mark
from longclip.report.chart import colour, legend_sign, swatch


def render(template: str, **values: Any) -> str:
    """Return a template of this package filled with `values`; text in them is escaped."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("longclip.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    signs = {"colour": colour, "legend_sign": legend_sign, "swatch": swatch}
    environment.globals |= {**signs, "zip": zip}
    return environment


_SMALL_SIDE = 192  # pixels: up to here a picture is shown at twice its size
_LARGEST_SIDE = 384
_FAINTEST_WEIGHT = 0.15  # of the heaviest word; what decides less is not marked


@dataclass(frozen=True)
class Piece:
    """A part of a description: `weights`, from 0 to 1, are of the words that it is marked for."""

    text: str
    weights: tuple[float, ...]
    deciding: bool


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, with the width and height that it is shown in, CSS pixels."""

    width: int
    height: int
    source: str


def paragraphs(query: GalleryQuery) -> list[list[Piece]]:
    """Return the description in pieces: one paragraph, or two around where a context ends."""
    text, cut = query.evidence.text, query.characters_read
    if cut is None or not 0 < cut < len(text):
        return [_pieces(query.evidence, 0, len(text))]
    return [_pieces(query.evidence, 0, cut), _pieces(query.evidence, cut, len(text))]


def picture(image: Image.Image) -> Picture:
    """Return an image in the size that it is shown in, or in half of that where it is small."""
    image = image.convert("RGB")
    if max(image.size) > _LARGEST_SIDE:
        image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    # Browsers enlarge smoothly by themselves, so the file need not carry the larger picture.
    zoom = 2 if max(image.size) <= _SMALL_SIDE else 1
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(image.width * zoom, image.height * zoom, f"data:image/png;base64,{encoded}")


def _pieces(evidence: Evidence, start: int, end: int) -> list[Piece]:
    """Cut `text[start:end]` wherever a mark begins or ends."""
    words = [word for word in evidence.words if word.score > 0]
    heaviest = max((word.score for word in words), default=1.0)
    words = [word for word in words if word.score >= _FAINTEST_WEIGHT * heaviest]
    sentence = max(evidence.sentences, key=lambda mark: mark.score, default=None)
    deciding = [sentence] if sentence and sentence.score > 0 else []
    borders = {start, end}.union(*((mark.start, mark.end) for mark in (*words, *deciding)))
    places = sorted(place for place in borders if start <= place <= end)
    return [
        Piece(
            evidence.text[a:b],
            tuple(word.score / heaviest for word in _around(words, a, b)),
            bool(_around(deciding, a, b)),
        )
        for a, b in itertools.pairwise(places)
    ]


def _around(marks: Sequence[Mark], start: int, end: int) -> list[Mark]:
    return [mark for mark in marks if mark.start <= start and end <= mark.end]
