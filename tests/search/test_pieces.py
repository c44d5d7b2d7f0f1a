import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.search.query.pieces import Pieces, combined_embedding, count_tokens, split_text, unit
from longclip.text.sentences import split_sentences
from longclip.text.tokenizer import clip_tokenizer

WORDS = st.sampled_from(["a", "red", "lighthouse", "stands", "antidisestablishmentarianism", "by"])
SENTENCES = st.lists(WORDS, min_size=1, max_size=9).map(
    lambda words: "The " + " ".join(words) + "."
)
TEXTS = st.lists(SENTENCES, max_size=9).map(" ".join)
# What cleaning turns into other characters, depending on what stands beside it; scripts without
# spaces; anything.
STRANGE = st.text(alphabet="Ã©â€™é海灯台 .a&lt;\n😀", max_size=120) | st.text(max_size=80)


def ids(text: str) -> list[int]:
    return clip_tokenizer().encode([text])[0][1:-1]


@given(TEXTS, st.integers(14, 60))
def test_pieces_are_whole_sentences_and_as_few_as_can_be(text, context_length):
    pieces = split_text(text, context_length)
    assert [token for piece in pieces.texts for token in ids(piece)] == ids(text)
    assert pieces.tokens == tuple(len(ids(piece)) for piece in pieces.texts)
    assert all(count <= context_length - 2 for count in pieces.tokens)
    lengths = [len(ids(sentence)) for sentence in split_sentences(text)]
    if max(lengths, default=0) <= context_length - 2:
        whole = [s for piece in pieces.texts for s in split_sentences(piece)]
        assert whole == split_sentences(text)
        assert len(pieces.texts) == fewest(lengths, context_length - 2)


def fewest(lengths: list[int], room: int) -> int:
    """Of all ways to cut a row into parts of at most `room`, the one with the fewest parts."""
    best = [0] + [len(lengths)] * len(lengths)
    for end in range(1, len(lengths) + 1):
        for start in range(end):
            if sum(lengths[start:end]) <= room:
                best[end] = min(best[end], best[start] + 1)
    return best[-1]


@given(STRANGE, st.integers(8, 30))
def test_nothing_is_longer_than_the_context_and_nothing_is_lost(text, context_length):
    pieces = split_text(text, context_length)
    assert all(len(ids(piece)) <= context_length - 2 for piece in pieces.texts)
    assert "".join("".join(pieces.texts).split()) == "".join(text.split())


def test_a_long_sentence_is_cut_between_words_and_a_long_word_between_characters():
    sentence = "one two three four five six seven eight nine ten"
    pieces = split_text(sentence, 7)
    assert pieces.texts == ("one two three four five", "six seven eight nine ten")
    pieces = split_text("海" * 40, 22)
    assert "".join(pieces.texts) == "海" * 40
    assert len(pieces.texts) > 1


def test_a_text_that_fits_is_left_as_it_is():
    text = "  A boat.\n\nA  house. "
    assert split_text(text, 77) == Pieces((text.strip(),), (6,))
    assert count_tokens(text) == 8


@pytest.mark.parametrize("text", ["", " \n "])
def test_no_text_has_no_pieces(text):
    assert split_text(text, 77) == Pieces((), ())


def test_pieces_count_by_their_tokens_whatever_the_length_of_their_embeddings():
    vectors = np.array([[2, 0, 0], [0, 30, 0]], np.float32)
    found = combined_embedding(vectors, Pieces(("a", "b"), (30, 10)))
    np.testing.assert_allclose(found, np.array([3, 1, 0]) / 10**0.5, rtol=1e-6)
    assert found.dtype == np.float32


def test_unit_leaves_nothing_as_nothing():
    np.testing.assert_array_equal(unit(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


@pytest.mark.parametrize("context_length", [12, 77])
def test_the_ids_of_pieces_are_those_of_their_texts(context_length):
    pieces = split_text("A dog runs over wet grass. " * 5 + "It is brown. &amp;", context_length)
    assert [list(ids) for ids in pieces.ids] == clip_tokenizer().encode(pieces.texts)
    assert pieces.tokens == tuple(len(ids) - 2 for ids in pieces.ids)
