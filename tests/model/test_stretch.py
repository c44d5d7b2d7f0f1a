"""Stretching against the authors' loop and the paper's numbers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import longclip
from longclip.model.stretch import UntrainedWarning, stretch_table
from tests.helpers.models import small_clip


def published_loop(old: torch.Tensor, keep: int = 20, r: int = 4) -> torch.Tensor:
    """Step by step, as the method's authors build their 248 rows out of 77."""
    length = old.shape[0]
    new = torch.empty(keep + r * (length - keep), old.shape[1], dtype=old.dtype)
    new[:keep] = old[:keep]
    for i in range(keep, length - 1):
        for j in range(r):
            new[keep + r * (i - keep) + j] = ((r - j) * old[i] + j * old[i + 1]) / r
    for j in range(r):
        new[len(new) - r + j] = old[-1] + j * (old[-1] - old[-2]) / r
    return new


def test_equals_the_published_table() -> None:
    old = torch.randn(77, 16, dtype=torch.float64)
    new = stretch_table(old, 248, keep=20)
    assert new.shape == (248, 16)
    torch.testing.assert_close(new, published_loop(old), rtol=0, atol=1e-14)


@given(
    old=st.integers(3, 90),
    keep=st.integers(0, 88),
    ratio=st.integers(2, 5),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_kept_rows_are_bit_identical_and_whole_ratios_equal_the_loop(
    old: int, keep: int, ratio: int, dtype: torch.dtype
) -> None:
    keep = min(keep, old - 2)
    table = torch.randn(old, 4).to(dtype)
    new = stretch_table(table, keep + ratio * (old - keep), keep=keep)
    assert new.dtype == dtype
    assert torch.equal(new[:keep], table[:keep])
    reference = published_loop(table.float(), keep, ratio).to(dtype)
    torch.testing.assert_close(new, reference)


@given(old=st.integers(3, 60), more=st.integers(1, 200), keep=st.integers(0, 58))
def test_a_straight_line_stays_straight_at_any_length(old: int, more: int, keep: int) -> None:
    keep = min(keep, old - 2)
    line = torch.arange(old, dtype=torch.float64)[:, None]
    new = stretch_table(line, old + more, keep=keep)[:, 0]
    ratio = (old + more - keep) / (old - keep)
    for p in range(old + more):
        expected = p if p < keep else keep + (p - keep) / ratio
        assert new[p].item() == pytest.approx(expected, abs=1e-9)


def test_linear_is_knowledge_preserving_with_nothing_kept() -> None:
    model = small_clip()
    linear = longclip.stretch(model, 248, method="linear")
    table = model.text_model.embeddings.position_embedding.weight.detach()
    places = torch.arange(248, dtype=torch.float64) * 77 / 248
    inside = places <= 76
    below = places.floor().long().clamp(max=75)
    share = (places - below)[:, None].float()
    expected = torch.lerp(table[below], table[below + 1], share)
    got = linear.text_model.embeddings.position_embedding.weight.detach()
    torch.testing.assert_close(got[inside], expected[inside], rtol=0, atol=1e-6)


def test_makes_a_new_model_and_leaves_the_old_one() -> None:
    model = small_clip()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    longer = longclip.stretch(model, context_length=248, keep=20)
    assert (model.context_length, longer.context_length) == (77, 248)
    assert longer.text_model.embeddings.position_embedding.num_embeddings == 248
    with torch.no_grad():
        for parameter in longer.parameters():
            parameter.zero_()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_texts_within_the_kept_rows_embed_as_before_and_long_ones_are_read() -> None:
    model = small_clip()
    longer = longclip.stretch(model)
    short = ["a red boat", "two trees beside a house under a clear sky"]
    assert torch.equal(model.encode_text(short), longer.encode_text(short))
    long = "word " * 150
    one, other = longer.encode_text([long + "cat", long + "boat"], normalize=True)
    assert F.cosine_similarity(one, other, dim=0) < 1 - 1e-6


@pytest.mark.parametrize(
    ("length", "keep", "ratio", "says"),
    [
        (77, 20, None, "not longer"),
        (50, 20, None, "not longer"),
        (248, 77, None, "leaves nothing"),
        (248, 76, None, "leaves nothing"),
        (248, -1, None, "leaves nothing"),
        (248, 20, 2.0, "at least 4"),
        (248, 20, float("nan"), "at least 4"),
    ],
)
def test_impossible_wishes_are_refused(
    length: int, keep: int, ratio: float | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        stretch_table(torch.zeros(77, 2), length, keep=keep, ratio=ratio)


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="knowledge-preserved"):
        longclip.stretch(small_clip(), method="cubic")  # type: ignore[arg-type]


@pytest.mark.parametrize(("old", "usual"), [(77, 248), (64, 196), (72, 228), (32, 128)])
def test_a_model_of_which_nobody_names_a_length_gets_the_usual_one(old: int, usual: int) -> None:
    config = small_clip().config
    assert config.text
    text = replace(config.text, max_position_embeddings=old)
    longer = longclip.stretch(longclip.CLIP(replace(config, text=text)))
    assert longer.context_length == usual
    with pytest.raises(ValueError, match=f"reads {usual} tokens already.*name --context-length"):
        longclip.stretch(longer)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"pooling": "last"}, "texts at their last position"), ({"causal": False}, "behind the end")],
)
def test_a_model_that_reads_padding_is_stretched_with_a_warning(
    changes: dict[str, Any], reason: str
) -> None:
    config = small_clip().config
    assert config.text
    model = longclip.CLIP(replace(config, text=replace(config.text, **changes)))
    with pytest.warns(UntrainedWarning, match=rf"{reason}.*longclip train .*--context-length 99"):
        longclip.stretch(model, 99)
