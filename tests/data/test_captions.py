"""Which texts a training step reads."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longclip.data import Captions
from longclip.data.captions import sample_texts

SHORT = ("one dog", "a brown dog", "dog on grass")
LONG = ("Dr. Lee walks a dog. It rains.", "A dog! The grass is wet.")


def draws(captions: Captions, count: int = 200) -> set[tuple[str, str]]:
    return {sample_texts(captions, np.random.default_rng(seed)) for seed in range(count)}


def test_every_pair_of_short_and_long_is_drawn() -> None:
    assert draws(Captions(SHORT, LONG)) == {(short, long) for short in SHORT for long in LONG}


def test_without_long_texts_the_short_ones_are_joined_in_every_order() -> None:
    orders = {" ".join(order) for order in permutations(SHORT)}
    assert draws(Captions(SHORT)) == {(short, long) for short in SHORT for long in orders}


def test_without_short_texts_the_first_sentence_of_the_same_text_is_taken() -> None:
    assert draws(Captions((), LONG)) == {("Dr. Lee walks a dog.", LONG[0]), ("A dog!", LONG[1])}


def test_a_single_short_caption_is_its_own_long_text() -> None:
    assert draws(Captions(("a dog",)), 3) == {("a dog", "a dog")}


@given(
    short=st.lists(st.text(), max_size=4),
    long=st.lists(st.text(), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_texts_depend_on_the_seed_only(short: list[str], long: list[str], seed: int) -> None:
    captions = Captions(tuple(short), tuple(long))
    first, second = (sample_texts(captions, np.random.default_rng(seed)) for _ in range(2))
    assert first == second
    assert not short or first[0] in short
    assert not long or first[1] in long


def test_short_texts_can_be_several_captions_each_once() -> None:
    captions = Captions(("a boat", "a tree", "a house"), ("A long text.",))
    texts = {
        sample_texts(captions, np.random.default_rng(seed), join_short=5)[0] for seed in range(200)
    }
    for text in texts:
        parts = text.replace(" a ", "|a ").split("|")
        assert len(set(parts)) == len(parts)
        assert set(parts) <= set(captions.short)
    assert {len(text.split()) // 2 for text in texts} == {1, 2, 3}
