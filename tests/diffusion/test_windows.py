"""Words, windows and padding, with CLIP's tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.diffusion.emphasis import Piece, Section, parse_prompt, unweighted
from longclip.diffusion.windows import (
    MAX_EMPTY_TOKENS,
    Token,
    Tokens,
    Word,
    as_text,
    cut_windows,
    framed,
    split_words,
    tokens_of,
)
from tests.helpers.pipelines import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def ids(text: str) -> list[int]:
    found: list[int] = TOKENIZER(text, add_special_tokens=False).input_ids
    return found


def section(prompt: str) -> Section:
    (one,) = parse_prompt(prompt)
    return one


def split(prompt: str, tokenizer: object = TOKENIZER) -> list[Word]:
    return split_words(tokenizer, section(prompt), lambda text: text)


def windows(prompt: str, room: int) -> list[str]:
    """Return the texts of the windows."""
    return [
        as_text(TOKENIZER, [token.id for token in window])
        for window in cut_windows(split(prompt), room)
    ]


def numbered(*words: str) -> list[Word]:
    """A word for each, of one token per letter."""
    return [Word(word, tuple(Token(ord(letter)) for letter in word)) for word in words]


# Words


@given(st.text())
def test_words_are_the_tokens_of_the_text(text: str) -> None:
    words = split_words(TOKENIZER, unweighted(text)[0], lambda piece: piece)
    assert [token.id for token in tokens_of(words)] == ids(text)
    assert all(word.tokens for word in words)


def test_a_word_is_what_stands_between_spaces() -> None:
    words = split("a well-lit room, in 1920 (don't ask!)")
    assert [word.text for word in words] == [
        "a",
        "well-lit",
        "room,",
        "in",
        "1920",
        "don't",
        "ask!",
    ]
    assert all([token.id for token in word.tokens] == ids(word.text) for word in words)


def test_weights_reach_every_token() -> None:
    words = split("a (well-lit:1.5) room")
    weights = [[token.weight for token in word.tokens] for word in words]
    assert weights == [[1], [1.5] * 3, [1]]


def test_pieces_without_a_space_between_are_one_word() -> None:
    words = split("a [big](cat:1.3), \t(sits)")
    assert [word.text for word in words] == ["a", "bigcat,", "sits"]
    assert [round(token.weight, 2) for token in words[1].tokens] == [0.91, 1.3, 1]


def test_escaped_brackets_are_tokens() -> None:
    words = split(r"saber \(fate\)")
    assert [token.id for token in tokens_of(words)] == ids("saber (fate)")


def test_vectors_of_a_textual_inversion_stay_together() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<cat>", "<cat>_1", "<cat>_2", "<dog>_1", "my own style"])
    words = split("a <cat> <cat>_1 <cat>_2, big <dog>_1 in my own style here", tokenizer)
    assert [len(word.tokens) for word in words] == [1, 4, 1, 1, 1, 1, 1]
    # Not the second vector of anything: a name that only looks like it.
    assert words[3].text == "<dog>_1"
    assert words[5].text == "my own style"


def test_textual_inversions_are_spelled_out_piece_by_piece() -> None:
    words = split_words(
        TOKENIZER, section("a (cat:2) cat"), lambda text: text.replace("cat", "cat cat2")
    )
    assert [word.text for word in words] == ["a", "cat", "cat2", "cat", "cat2"]
    assert [token.weight for token in tokens_of(words)] == [1, 2, 2, 2, 1, 1, 1]


def test_tokenizers_that_look_further_than_a_word() -> None:
    """Where a word alone would be read otherwise, the text as a whole decides."""

    class Joining:
        added_tokens_encoder: dict[str, int] = {}  # noqa: RUF012

        def __call__(self, text: str, **_: object) -> "Joining":
            self.input_ids = [ord(letter) for letter in text.replace("b c", "x").replace(" ", "")]
            return self

    words = split("a b c d", Joining())
    assert [word.text for word in words] == ["a", "b c", "d"]
    assert [chr(token.id) for token in tokens_of(words)] == ["a", "x", "d"]


# Windows


WORDS = st.lists(
    st.builds(
        lambda letters, mark: letters + mark,
        st.text("abcdefgh", min_size=1, max_size=12),
        st.sampled_from(["", "", "", ",", ".", '."']),
    ),
    max_size=60,
)


@given(WORDS, st.integers(1, 40))
def test_no_token_is_lost_or_doubled(texts: list[str], room: int) -> None:
    words = numbered(*texts)
    found = cut_windows(words, room)
    assert tuple(token for window in found for token in window) == tokens_of(words)
    assert all(len(window) <= room for window in found)
    assert found == [()] if not words else all(found)


@given(WORDS, st.integers(16, 40))
def test_cuts_are_where_words_end_and_not_too_early(texts: list[str], room: int) -> None:
    words = numbered(*texts)
    found = cut_windows(words, room)
    ends = {0}
    for word in words:
        ends.add(max(ends) + len(word.tokens))
    at = 0
    for number, window in enumerate(found, 1):
        begin, at = at, at + len(window)
        assert at in ends or at == len(tokens_of(words))
        if number < len(found):
            fits = max(end for end in ends if end <= begin + room)
            assert fits - at <= MAX_EMPTY_TOKENS


@given(WORDS, st.integers(1, 40))
def test_what_fits_is_one_window(texts: list[str], room: int) -> None:
    words = numbered(*texts)
    assert (len(cut_windows(words, room)) == 1) == (len(tokens_of(words)) <= room)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["aaaa", "bbbb", "cccc"], ["aaaabbbb", "cccc"]),
        # A comma, if there is one near; the end of a sentence even before that.
        (["aaaa", "bb,", "cc", "dd"], ["aaaabb,", "ccdd"]),
        (["aaaa.", "b,", "cc", "dd"], ["aaaa.", "b,ccdd"]),
        (["aaa.)", "b,", "cc", "dd"], ["aaa.)", "b,ccdd"]),
        # Not where all fits.
        (["aaa.", "bbb"], ["aaa.bbb"]),
        # Only a word that fills more than a window is cut, and it starts with a window.
        (["aaa", "bbbbbbbbbbbb", "c"], ["aaa", "bbbbbbbbb", "bbbc"]),
    ],
)
def test_where_windows_of_nine_end(texts: list[str], expected: list[str]) -> None:
    found = cut_windows(numbered(*texts), 9)
    assert ["".join(chr(token.id) for token in window) for window in found] == expected


@pytest.mark.parametrize(
    ("after", "length"), [(MAX_EMPTY_TOKENS, 11), (MAX_EMPTY_TOKENS + 1, 11 + MAX_EMPTY_TOKENS + 1)]
)
def test_how_far_back_a_sentence_may_end(after: int, length: int) -> None:
    words = numbered("aaaaaaaaaa.", *"b" * after, "cccc")
    first, _ = cut_windows(words, 11 + after)
    assert len(first) == length


def test_windows_of_a_prompt() -> None:
    prompt = "a red boat, a (green:1.2) house, don't-cut-me, an old lighthouse."
    assert windows(prompt, 9) == [
        "a red boat , a green house ,",
        "don 't - cut - me ,",
        "an old lighthouse .",
    ]


# Padding


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
@pytest.mark.parametrize("length", [77, 248])
@pytest.mark.parametrize("text", ["", "a red boat", "boat " * 246])
def test_framed_as_the_tokenizer_does(pad: str, length: int, text: str) -> None:
    tokenizer = tiny_tokenizer(pad)
    tokenizer.model_max_length = length
    expected = tokenizer(text, padding="max_length", truncation=True).input_ids
    tokens: Tokens = tuple(Token(id_, 1.5) for id_ in ids(text)[: length - 2])
    found = framed(tokenizer, tokens)
    assert [token.id for token in found] == expected
    weights = [token.weight for token in found]
    assert weights == [1, *[1.5] * len(tokens), *[1] * (length - len(tokens) - 1)]


def test_too_many_tokens_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        framed(TOKENIZER, (Token(320),) * 76)


def test_a_piece_may_be_empty() -> None:
    words = split_words(TOKENIZER, (Piece(""), Piece(" "), Piece("a")), lambda text: text)
    assert [word.text for word in words] == ["a"]
