"""Where a text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.search.service.search_api import cut_at, token_cuts
from longclip.text.tokenizer import clip_tokenizer


@given(
    st.lists(st.sampled_from(["boat", "lighthouses,", "ünïcode", "🚤", "&amp;", "'s", "x.y"])),
    st.sampled_from([" ", "\n", " \t "]),
    st.integers(4, 30),
)
def test_what_stands_before_the_cut_fits_and_with_the_next_word_it_does_not(
    words: list[str], space: str, limit: int
) -> None:
    text = space.join(words)
    if len(clip_tokenizer().encode([text])[0]) <= limit:
        return
    cut = cut_at(text, limit)
    assert len(clip_tokenizer().encode([text[:cut]])[0]) <= limit
    one_more = text[: cut + len(text[cut:].split()[0])]
    assert len(clip_tokenizer().encode([one_more])[0]) > limit


@pytest.mark.parametrize(
    ("words", "cuts"), [(75, (None, None)), (76, (300, None)), (247, (300, 984))]
)
def test_both_cuts(words: int, cuts: tuple[int | None, int | None]) -> None:
    counted = token_cuts("sea " * words, 248)
    assert counted.count == words + 2
    assert (counted.cut_77, counted.cut) == cuts


def test_characters_outside_the_basic_plane_count_one() -> None:
    assert cut_at("🚤 " * 100, 77) == 2 * (75 // (len(clip_tokenizer().encode(["🚤"])[0]) - 2))
