"""The gallery of a report: descriptions with what decides in them, and the models' answers."""

import base64
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from longclip.evaluation.evidence import Evidence, Mark

_SMALL_SIDE = 192  # pixels: up to here a picture is shown at twice its size
_LARGEST_SIDE = 384
_FAINTEST_WEIGHT = 0.15  # of the heaviest word; what decides less is not marked


@dataclass(frozen=True)
class Answer:
    """The image that a model returns first; `caption` says what is on it, also to the blind."""

    model: str
    image: Image.Image
    is_right: bool
    caption: str


@dataclass(frozen=True)
class Query:
    """A description, what decides in it, and each model's answer.

    A line is drawn at `characters_read`, where a short context stops reading (the function
    `characters_read` finds it); None draws none.
    """

    evidence: Evidence
    answers: tuple[Answer, ...]
    characters_read: int | None = None
    cut_label: str = "77 tokens: a stock CLIP stops reading here"


def gallery_html(queries: Sequence[Query], note: str) -> str:
    """The section with all queries."""
    cards = "\n".join(_query_html(number, query) for number, query in enumerate(queries, 1))
    return f"""<section>
<h2>Descriptions that tell the models apart</h2>
<p class="note">{escape(note)} Underlined is the sentence that does most to bring the right
image before the wrong one, for the model that is right; within it, the stronger a word is marked,
the more it adds.</p>
{cards}
</section>"""


def _query_html(number: int, query: Query) -> str:
    answers = "\n".join(map(_answer_html, query.answers))
    many = " many" if len(query.answers) > 2 else ""
    return f"""<article class="card query{many}">
<div>
<h3 class="number">Description {number}</h3>
{_description_html(query)}
</div>
<div class="answers">
{answers}
</div>
</article>"""


def _answer_html(answer: Answer) -> str:
    kind, sign, word = ("right", "✓", "right") if answer.is_right else ("wrong", "✗", "wrong")
    width, height, source = _data_uri(answer.image)
    alt = f"{answer.model} returns the {word} image: {answer.caption}"
    return f"""<figure class="{kind}">
<figcaption class="name"><strong>{escape(answer.model)}</strong>
<span class="verdict">{sign} {word}</span></figcaption>
<img src="{source}" width="{width}" height="{height}" alt="{escape(alt)}">
<figcaption>{escape(answer.caption)}</figcaption>
</figure>"""


def _description_html(query: Query) -> str:
    text, cut = query.evidence.text, query.characters_read
    if cut is None or not 0 < cut < len(text):
        return f"<p>{_marked_html(query.evidence, 0, len(text))}</p>"
    return f"""<p>{_marked_html(query.evidence, 0, cut)}</p>
<div class="cut">{escape(query.cut_label)}</div>
<p>{_marked_html(query.evidence, cut, len(text))}</p>"""


def _marked_html(evidence: Evidence, start: int, end: int) -> str:
    """`text[start:end]`, cut into pieces wherever a mark begins or ends."""
    words = [word for word in evidence.words if word.score > 0]
    heaviest = max((word.score for word in words), default=1.0)
    words = [word for word in words if word.score >= _FAINTEST_WEIGHT * heaviest]
    sentence = max(evidence.sentences, key=lambda mark: mark.score, default=None)
    deciding = [sentence] if sentence and sentence.score > 0 else []
    borders = {start, end}.union(*((mark.start, mark.end) for mark in (*words, *deciding)))
    places = sorted(place for place in borders if start <= place <= end)
    parts = []
    for a, b in itertools.pairwise(places):
        part = escape(evidence.text[a:b])
        for word in _around(words, a, b):
            part = f'<mark style="--weight:{word.score / heaviest:.2f}">{part}</mark>'
        if _around(deciding, a, b):
            part = f'<span class="deciding">{part}</span>'
        parts.append(part)
    return "".join(parts)


def _around(marks: Sequence[Mark], start: int, end: int) -> list[Mark]:
    return [mark for mark in marks if mark.start <= start and end <= mark.end]


def _data_uri(image: Image.Image) -> tuple[int, int, str]:
    """Width and height to be shown in, CSS pixels, and the picture as a PNG in a data URI."""
    image = image.convert("RGB")
    if max(image.size) > _LARGEST_SIDE:
        image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    # Browsers enlarge smoothly by themselves, so the file need not carry the larger picture.
    zoom = 2 if max(image.size) <= _SMALL_SIDE else 1
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return image.width * zoom, image.height * zoom, f"data:image/png;base64,{encoded}"
