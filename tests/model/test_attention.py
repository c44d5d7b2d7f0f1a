"""Attention computed in parts is attention, and computes no more than those parts."""

from typing import Any

import pytest
import torch
from torch import Tensor

from longclip.model import attention
from longclip.model.attention import attend, attend_by_length
from tests.model.test_packing import slow_attention


class Counting:
    """torch's kernel, and the queries and keys of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        self.calls.append((len(query), query.shape[-2], key.shape[-2]))
        return self.kernel(query, key, value, **options)

    kernel = staticmethod(torch.nn.functional.scaled_dot_product_attention)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    found = Counting()
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", found)
    return found


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("learning", [False, True])
def test_causal_attention_is_the_masked_softmax(length: int, learning: bool) -> None:
    generator = torch.Generator().manual_seed(length)
    query, key, value = torch.randn(3, 2, 3, length, 8, generator=generator)
    scores = query.double() @ key.double().transpose(-1, -2) / 8**0.5
    hidden = torch.ones(length, length).triu(1).bool()
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value.double()
    found = attend(query.requires_grad_(learning), key, value, causal=True)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_what_a_block_of_queries_cannot_see_is_not_computed(counting: Counting) -> None:
    attend(*torch.randn(3, 2, 3, 150, 8), causal=True)
    assert counting.calls == [(2, 64, 64), (2, 64, 128), (2, 22, 150)]


def test_texts_of_one_length_attend_together(counting: Counting) -> None:
    lengths = torch.tensor([3, 3, 3, 5, 70, 70, 1])
    starts = torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32)
    query, key, value = torch.randn(3, int(lengths.sum()), 2, 8)
    for window in ((-1, 0), (-1, -1)):
        counting.calls.clear()
        found = attend_by_length(query, key, value, starts, starts, 70, 70, window_size=window)
        expected = slow_attention(query, key, value, starts, starts, 70, 70, window_size=window)
        torch.testing.assert_close(found, expected)
    assert counting.calls == [(3, 3, 3), (1, 5, 5), (2, 70, 70), (1, 1, 1)]


def test_the_ends_of_texts_attend_to_all_of_them() -> None:
    starts = torch.tensor([0, 4, 8, 9], dtype=torch.int32)
    each = torch.arange(4, dtype=torch.int32)
    query = torch.randn(3, 2, 8)
    key, value = torch.randn(2, 9, 2, 8)
    found = attend_by_length(query, key, value, each, starts, 1, 4)
    torch.testing.assert_close(found, slow_attention(query, key, value, each, starts, 1, 4))
