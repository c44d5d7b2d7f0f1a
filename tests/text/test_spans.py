"""Where the tokens of a text end."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from longclip.text.spans import word_spans
from longclip.text.tokenizer import clip_tokenizer

_MOJIBAKE = "\u00c3  la carte "
_QUOTE = "\u00e2\u20ac\u2122"
_PIECES = [
    "boat",
    "lighthouses,",
    "\u00fc",
    "&amp",
    ";",
    "&eacute;",
    "\u00c3",
    "\u00e2\u20ac\u2122",
    "'s",
    "\n",
]


def tokens_of(text: str) -> int:
    return len(clip_tokenizer().encode([text])[0]) - 2


def longest_prefix(text: str, tokens: int) -> tuple[int, int]:
    """Tokenize growing prefixes: the end of the longest that fits, and the word after it."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    end, unread = 0, words[0][0] if words else len(text)
    for place, (_, stop) in enumerate(words):
        if tokens_of(text[:stop]) <= tokens:
            last = place + 1 == len(words)
            end = len(text) if last else stop
            unread = len(text) if last else words[place + 1][0]
    return (end, unread) if words else (len(text), len(text))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(_PIECES), max_size=12),
    st.sampled_from(["", " ", "  "]),
    st.integers(1, 14),
)
@example([_MOJIBAKE] * 40, "", 75)
@example(["&amp"] * 9, " ", 5)
def test_the_cut_is_that_of_growing_prefixes(pieces: list[str], space: str, tokens: int) -> None:
    text = space.join(pieces)
    spans = word_spans(text)
    assert (spans.read_end(tokens), spans.unread_start(tokens)) == longest_prefix(text, tokens)
