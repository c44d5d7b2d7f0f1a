"""Which texts a training step reads."""

from itertools import combinations, permutations
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from longclip.data import Captions
from longclip.data.captions import TextPolicy, Texts, is_long, sample_texts
from longclip.spec import ShortTexts
from longclip.text.sentences import split_sentences
from longclip.text.tokenizer import clip_tokenizer

SHORT = ("one dog", "a brown dog", "dog on grass")
LONG = ("Dr. Lee walks a dog. It rains.", "A dog! The grass is wet.")
FOUR = "A street. A dog sits. It is brown. The sun sets."


def draws(
    captions: Captions, policy: TextPolicy | None = None, count: int = 200
) -> set[tuple[tuple[str, ...], str]]:
    found = [
        sample_texts(captions, np.random.default_rng(seed), policy or TextPolicy())
        for seed in range(count)
    ]
    return {(texts.short, texts.long) for texts in found}


def test_every_pair_of_short_and_long_is_drawn() -> None:
    assert draws(Captions(SHORT, LONG)) == {((short,), long) for short in SHORT for long in LONG}


def test_without_long_texts_the_short_ones_are_joined_in_every_order() -> None:
    orders = {" ".join(order) for order in permutations(SHORT)}
    assert draws(Captions(SHORT)) == {((short,), long) for short in SHORT for long in orders}


def test_without_short_texts_the_first_sentence_of_the_same_text_is_taken() -> None:
    assert draws(Captions((), LONG)) == {
        (("Dr. Lee walks a dog.",), LONG[0]),
        (("A dog!",), LONG[1]),
    }


def test_a_single_short_caption_is_its_own_long_text() -> None:
    assert draws(Captions(("a dog",)), count=3) == {(("a dog",), "a dog")}


@given(
    short=st.lists(st.text(), max_size=4),
    long=st.lists(st.text(), max_size=3),
    policy=st.builds(
        TextPolicy, st.sampled_from(get_args(ShortTexts)), st.integers(1, 3), st.integers(1, 4)
    ),
    seed=st.integers(0, 2**32),
)
def test_texts_depend_on_the_seed_only(
    short: list[str], long: list[str], policy: TextPolicy, seed: int
) -> None:
    captions = Captions(tuple(short), tuple(long))
    first, second = (sample_texts(captions, np.random.default_rng(seed), policy) for _ in range(2))
    assert first == second
    assert len(first.short) == policy.positives
    assert not long or first.long in long
    if short and policy.short == "given" and policy.join_short == 1:
        assert set(first.short) <= set(short)


def test_the_default_draws_what_it_always_drew() -> None:
    """Runs of earlier versions stay reproducible: the same numbers, used in the same order."""
    for seed in range(50):
        for captions in (Captions(SHORT, LONG), Captions(SHORT), Captions((), LONG)):
            for join in (1, 2, 5):
                random, expected = np.random.default_rng(seed), np.random.default_rng(seed)
                if captions.long:
                    long = captions.long[expected.integers(len(captions.long))]
                else:
                    long = " ".join(SHORT[i] for i in expected.permutation(3))
                if captions.short:
                    count = min(int(expected.integers(join)) + 1, 3)
                    short = " ".join(SHORT[i] for i in expected.choice(3, count, replace=False))
                else:
                    short = split_sentences(long)[0]
                texts = sample_texts(captions, random, TextPolicy(join_short=join))
                assert texts == Texts((short,), long)
                assert random.random() == expected.random()


def test_short_texts_can_be_several_captions_each_once() -> None:
    captions = Captions(("a boat", "a tree", "a house"), ("A long text.",))
    texts = {short for (short,), _ in draws(captions, TextPolicy(join_short=5))}
    for text in texts:
        parts = text.replace(" a ", "|a ").split("|")
        assert len(set(parts)) == len(parts)
        assert set(parts) <= set(captions.short)
    assert {len(text.split()) // 2 for text in texts} == {1, 2, 3}


def test_the_first_sentence_even_where_there_are_captions() -> None:
    found = draws(Captions(SHORT, LONG), TextPolicy("first-sentence"))
    assert found == {(("Dr. Lee walks a dog.",), LONG[0]), (("A dog!",), LONG[1])}


def test_without_the_first_sentence_every_other_subset_in_every_order() -> None:
    _, *others = split_sentences(FOUR)
    expected = {" ".join(some) for n in (1, 2, 3) for some in permutations(others, n)}
    found = draws(Captions(SHORT, (FOUR,)), TextPolicy("without-first"), count=500)
    assert {short for (short,), _ in found} == expected
    assert {long for _, long in found} == {FOUR}


@pytest.mark.parametrize("positives", [1, 2, 4, 9])
def test_sentences_are_each_one_of_the_long_text(positives: int) -> None:
    sentences, seen = split_sentences(FOUR), set()
    policy = TextPolicy("sentences", positives=positives)
    for shorts, long in draws(Captions(SHORT, (FOUR,)), policy):
        assert long == FOUR
        counts = [shorts.count(sentence) for sentence in sentences]
        assert sum(counts) == len(shorts) == positives
        assert max(counts) - min(counts) <= 1
        seen |= set(shorts)
    assert seen == set(sentences)


def test_any_sentences_of_a_long_text_in_their_order_or_in_any() -> None:
    sentences = split_sentences(FOUR)
    some = [" ".join(c) for n in (1, 2, 3, 4) for c in combinations(sentences, n)]
    orders = [" ".join(c) for n in (1, 2, 3, 4) for c in permutations(sentences, n)]
    for name, expected in (("subsampled", some), ("shuffled", orders)):
        policy = TextPolicy("first-sentence", long=name)  # type: ignore[arg-type]
        found = draws(Captions((), (FOUR,)), policy, count=2000)
        assert {long for _, long in found} == set(expected)
        assert {short for short, _ in found} == {(sentences[0],)}, "short texts are of the whole"
    joined = draws(Captions(SHORT), TextPolicy(long="subsampled"), count=500)
    assert {len([s for s in SHORT if s in long]) for _, long in joined} == {1, 2, 3}


def test_short_texts_are_the_same_whatever_is_read_of_long_ones() -> None:
    captions = Captions(SHORT, (FOUR,))
    for short in ("given", "without-first", "sentences"):
        texts = [
            sample_texts(captions, np.random.default_rng(5), TextPolicy(short, 1, 2, long))
            for long in ("whole", "subsampled", "shuffled")
        ]
        assert len({text.short for text in texts}) == 1


@pytest.mark.parametrize("text", ["Only this.", "no period", "  ", ""])
@pytest.mark.parametrize("positives", [1, 3])
def test_a_text_of_one_sentence_stays(text: str, positives: int) -> None:
    found = draws(Captions((), (text,)), TextPolicy("without-first", positives=positives), count=5)
    assert found == {((text,) * positives, text)}


def test_captions_are_the_sentences_of_a_text_joined_from_them() -> None:
    for (short,), long in draws(Captions(SHORT), TextPolicy("without-first")):
        first = next(caption for caption in SHORT if long.startswith(caption))
        assert first not in short
    for (short,), long in draws(Captions(SHORT), TextPolicy("first-sentence")):
        assert short in SHORT
        assert long.startswith(short)


@pytest.mark.parametrize("positives", [2, 3, 4, 7])
def test_positives_differ_while_there_are_others(positives: int) -> None:
    captions = Captions(SHORT, (FOUR,))
    for shorts, _ in draws(captions, TextPolicy("given", positives=positives)):
        counts = [shorts.count(caption) for caption in SHORT]
        assert max(counts) - min(counts) <= 1
    sentences = split_sentences(FOUR)
    for shorts, _ in draws(captions, TextPolicy("first-sentence", positives=positives)):
        assert shorts[0] == sentences[0]
        assert set(shorts[1:]) <= set(sentences[1:])
        assert len(set(shorts)) == min(positives, len(sentences))


def test_positives_without_the_first_sentence_share_none_while_there_are_enough() -> None:
    text = "Summary. " + " ".join(f"Sentence {i}." for i in range(7))
    lengths = set()
    for shorts, _ in draws(Captions((), (text,)), TextPolicy("without-first", positives=3)):
        sentences = [sentence for short in shorts for sentence in split_sentences(short)]
        assert len(set(sentences)) == len(sentences)
        assert "Summary." not in sentences
        lengths |= {len(split_sentences(short)) for short in shorts}
    assert lengths == {1, 2}, "7 sentences are up to 2 for each of 3"


def test_joined_captions_may_be_several_positives() -> None:
    for shorts, _ in draws(Captions(SHORT, LONG), TextPolicy(join_short=2, positives=3)):
        assert len(shorts) == 3
        assert set(SHORT) <= {caption for caption in SHORT if any(caption in s for s in shorts)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"short": "frist"}, "'frist', only given, first-sentence, without-first, sentences"),
        ({"long": "half"}, "'half', only whole, subsampled, shuffled"),
        ({"join_short": 0}, "join_short is 0, must be at least 1"),
        ({"positives": 0}, "positives is 0, must be at least 1"),
    ],
)
def test_policies_that_mean_nothing(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TextPolicy(**arguments)  # type: ignore[arg-type]


@given(st.text() | st.text("a&;nGtȺﬃ½ ", max_size=200))
@example("&nGt;" * 20)
@example("Ⱥ" * 40)
def test_what_is_plainly_short_is_short(text: str) -> None:
    assert is_long(text) == (len(clip_tokenizer().encode([text])[0]) > 77)
