import json
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.evaluation import LengthCurve, characters_read, recall_by_length, retrieval_recall
from longclip.evaluation.probes.lengths import first_words
from longclip.text.spans import word_spans
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.encoders import BagOfTokens, painted

TEXTS = ("red car", "red car blue house", "red car blue tree tall lamp", "dog")


def test_each_point_is_the_recall_of_the_texts_cut_there():
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    owners = torch.arange(4)
    curve = recall_by_length(encoder, images, TEXTS, owners, tokens=(6, 1, 3, 4, 50), k=1)
    assert curve.tokens == (1, 3, 4, 6, 50)
    assert curve.texts_cut == (3, 2, 1, 0, 0)
    for i, n in enumerate(curve.tokens):
        cut = encoder.encode_text([" ".join(text.split()[:n]) for text in TEXTS])
        expected = retrieval_recall(images, cut, owners, ks=(1,))
        assert curve.text_to_image[i] == expected.text_to_image[1]
        assert curve.image_to_text[i] == expected.image_to_text[1]
    assert curve.text_to_image[0] < curve.text_to_image[-1] == 1.0
    assert json.loads(json.dumps(curve.to_json()))["tokens"] == [1, 3, 4, 6, 50]
    assert curve.to_json()["effective_length"] == curve.effective_length


def test_the_curve_ends_with_the_context_and_nothing_is_embedded_twice():
    encoder = BagOfTokens(context_length=6)
    images = torch.randn(4, 16)
    curve = recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(2, 4, 5, 6))
    assert curve.tokens == (2, 4)
    # Three texts begin alike; at four tokens two of the four change.
    assert sorted(encoder.texts_seen) == [
        "dog",
        "red car",
        "red car blue house",
        "red car blue tree",
    ]

    with pytest.raises(ValueError, match="at most 4"):
        recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(5, 6))
    with pytest.raises(ValueError, match="from 1 up"):
        recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(0, 3))


def curve_of(tokens, hits, texts):
    values = tuple(n / texts for n in hits)
    return LengthCurve(1, texts, texts, tokens, (0,) * len(tokens), (1.0,) * len(tokens), values)


def exact_effective_length(tokens, hits):
    """By fractions, token by token: 95 % of the last, on the lines between what was measured."""
    for n in range(tokens[0], tokens[-1] + 1):
        i = max(i for i, at in enumerate(tokens) if at <= n)
        there = Fraction(hits[i])
        if tokens[i] < n:
            share = Fraction(n - tokens[i], tokens[i + 1] - tokens[i])
            there += share * (hits[i + 1] - hits[i])
        if there >= Fraction(95, 100) * hits[-1]:
            return n
    return None


@given(st.data())
def test_the_effective_length_is_the_first_of_all_that_reach_95_percent(data):
    tokens = tuple(sorted(data.draw(st.sets(st.integers(1, 510), min_size=1, max_size=8))))
    texts = data.draw(st.integers(1, 5000))
    hits = data.draw(st.lists(st.integers(0, texts), min_size=len(tokens), max_size=len(tokens)))
    found = curve_of(tokens, hits, texts).effective_length
    assert found == (exact_effective_length(tokens, hits) if hits[-1] else None)


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ((0, 50, 95, 100), 60),  # 95 of 100 are enough
        ((0, 50, 94, 100), 64),  # 94 + 4 · 6 / 20 = 95.2, and with 63 tokens 94.9
        ((100, 100, 100, 100), 20),  # less than was measured is not told
        ((10, 90, 30, 20), 23),  # on the way to a peak: 10 + 3 · 4 = 22, of 19
        ((0, 0, 0, 0), None),
    ],
)
def test_effective_lengths_of_curves(hits, expected):
    assert curve_of((20, 40, 60, 80), hits, 100).effective_length == expected


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "lamp", "antidisestablishment", "é,", "\n", "42"])),
    st.integers(3, 20),
)
def test_the_part_read_is_the_longest_whole_words_that_fit(words, context_length):
    text = "  ".join(words)
    end = characters_read(text, context_length)

    def tokens(part):
        return len(clip_tokenizer().encode([part])[0])

    assert tokens(text[:end]) <= context_length
    rest = text[end:].split()
    if end < len(text):
        assert rest
        assert tokens(text[:end] + " " + rest[0]) > context_length


class Boundless(BagOfTokens):
    """Reads 1,000 tokens, and does not say so."""

    def __init__(self):
        super().__init__()
        self.reader = BagOfTokens(context_length=1000)
        self.context_length = None

    def encode_text(self, texts, /):
        return self.reader.encode_text(texts).double().numpy()


def test_an_encoder_without_a_limit_reads_on():
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    limited = recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(2, 500))
    assert limited.tokens == (2,)
    curve = recall_by_length(Boundless(), images, TEXTS, torch.arange(4), tokens=(2, 500))
    assert curve.tokens == (2, 500)
    assert curve.text_to_image[1] == 1.0


def tokens_of(text):
    return len(clip_tokenizer().encode([text])[0]) - 2


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='ab1é’"&;<>#x \n\t\xa0ÃŸ©â€™', max_size=30), st.integers(1, 12))
def test_first_words_are_a_prefix_that_fits_and_cannot_grow(text, tokens):
    """Whatever the cleaning repairs on the way: mojibake and entities may span a space."""
    kept = first_words(text, tokens)
    assert text.startswith(kept)
    assert tokens_of(kept) <= tokens
    rest = text[len(kept) :]
    if rest:
        assert not kept or not rest[0].strip(), "cut inside a word"
        more = text[: len(kept) + len(rest) - len(rest.lstrip()) + len(rest.split()[0])]
        assert tokens_of(more) > tokens


def test_first_words_keep_whole_words_and_the_text_as_it_was():
    assert first_words("Two  big\ndogs, running", 3) == "Two  big"
    assert first_words("Two  big\ndogs, running", 4) == "Two  big\ndogs,"
    assert first_words("a dog ", 2) == "a dog "
    assert first_words("antidisestablishmentarianism here", 2) == ""
    assert first_words("", 5) == ""


def test_words_are_counted_like_the_text():
    text = "A caf\u00e9\u2019s red door, 12 steps (wooden)."
    counted = word_spans(text)
    assert len(counted.ends) == len(text.split())
    assert [tokens_of(text[:end]) for end in counted.ends] == [
        counted.tokens(n) for n in range(1, len(counted.ends) + 1)
    ]
