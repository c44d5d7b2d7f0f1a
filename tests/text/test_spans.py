"""Where the tokens of a text end."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longclip.text.spans import longest_fit, word_spans, words_with_ids
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
    st.lists(st.sampled_from(_PIECES), max_size=40),
    st.sampled_from(["", " ", "  "]),
    st.integers(1, 30),
)
@example([_MOJIBAKE] * 40, "", 75)
@example(["&amp"] * 9, " ", 5)
def test_the_cut_is_that_of_growing_prefixes(pieces: list[str], space: str, tokens: int) -> None:
    text = space.join(pieces)
    spans = word_spans(text)
    assert (spans.read_end(tokens), spans.unread_start(tokens)) == longest_prefix(text, tokens)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 300))
def test_counts_that_only_grow_need_no_look_at_all(steps: list[int], tokens: int) -> None:
    counts = [sum(steps[:n]) for n in range(1, len(steps) + 1)]
    slow = max((n for n, count in enumerate(counts, 1) if count <= tokens), default=0)
    assert longest_fit(lambda n: counts[n - 1], len(counts), tokens) == slow


def test_a_long_prompt_is_not_tokenized_word_by_word(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = word_spans(_MOJIBAKE + "A boat by the lighthouse. " * 4000)
    assert len(spans.ends) > 20_000
    encode, calls = clip_tokenizer().encode, []
    monkeypatch.setattr(clip_tokenizer(), "encode", lambda t: calls.append(len(t)) or encode(t))
    assert spans.read_end(246) == len(_MOJIBAKE) + 26 * 40 + len("A boat by")
    assert sum(calls) < 40


def test_words_that_never_have_the_ids_of_the_text_are_encoded_a_few_times() -> None:
    encoded = 0

    def backwards(text: str) -> list[int]:
        nonlocal encoded
        words = text.split()
        encoded += len(words)
        return [int(word) for word in reversed(words)]

    text = " ".join(map(str, range(5000)))
    assert list(words_with_ids(text, backwards)) == [(text, backwards(text))]
    assert encoded < 5 * 5000
