"""Shares of every loss sum to the loss of the batch, in any partition and in any chunks."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from longclip.losses import distillation, info_nce, long_clip_loss, sigmoid_loss
from longclip.losses.pairs import counted_rows

WIDTH = 5
Objective = Callable[..., Tensor]


def smoothed(images: Tensor, texts: Tensor, scale: Tensor, **options: Any) -> Tensor:
    return info_nce(images, texts, scale, label_smoothing=0.1, **options)


def with_margin(images: Tensor, texts: Tensor, scale: Tensor, **options: Any) -> Tensor:
    return info_nce(images, texts, scale, margin=0.5, **options)


def sigmoid(images: Tensor, texts: Tensor, scale: Tensor, **options: Any) -> Tensor:
    return sigmoid_loss(images, texts, scale, -scale, **options)


def distilled(images: Tensor, texts: Tensor, scale: Tensor, **options: Any) -> Tensor:
    """The teacher is the same batch seen backwards."""
    return distillation(images, texts, scale, images.flip(1) ** 2, texts**2, 2 * scale, **options)


def long_clip(images: Tensor, texts: Tensor, scale: Tensor, **options: Any) -> Tensor:
    return long_clip_loss(
        images, texts[: len(images)], texts, scale, weight=0.3, components=2, **options
    ).total


OBJECTIVES = [smoothed, with_margin, sigmoid, distilled, long_clip]


def batch_of(images: int, k: int, seed: int = 0) -> list[Tensor]:
    """Leaves: images, texts, scale."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((images, WIDTH), (images * k, WIDTH))
    leaves = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    leaves.append(torch.tensor(3.0, dtype=torch.float64))
    return [leaf.requires_grad_() for leaf in leaves]


def loss_and_gradients(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


@st.composite
def partitions(draw: st.DrawFn) -> tuple[int, list[slice]]:
    """A batch size and contiguous slices that cover it; some may be empty."""
    total = draw(st.integers(4, 9))
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=4)))
    edges = [0, *cuts, total]
    return total, [slice(a, b) for a, b in pairwise(edges)]


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=20)
@given(partition=partitions(), k=st.integers(1, 3), chunk=st.integers(0, 4))
def test_shares_sum_to_the_loss_and_its_gradients(
    objective: Objective, partition: tuple[int, list[slice]], k: int, chunk: int
) -> None:
    total, slices = partition
    leaves = batch_of(total, k)
    dense = loss_and_gradients(objective(*leaves), leaves)
    shares = [
        loss_and_gradients(objective(*leaves, rows=rows, chunk=chunk), leaves) for rows in slices
    ]
    for expected, *parts in zip(dense, *shares, strict=True):
        torch.testing.assert_close(torch.stack(parts).sum(0), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunked_equals_dense(objective: Objective, k: int, chunk: int) -> None:
    leaves = batch_of(7, k)
    dense = loss_and_gradients(objective(*leaves), leaves)
    chunked = loss_and_gradients(objective(*leaves, chunk=chunk), leaves)
    for got, expected in zip(chunked, dense, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_parts_are_shares_too() -> None:
    images, texts, scale = batch_of(8, 1)
    whole = long_clip_loss(images, texts, texts, scale, components=2).parts
    halves = [
        long_clip_loss(images, texts, texts, scale, components=2, rows=rows).parts
        for rows in (slice(0, 3), slice(3, 8))
    ]
    for name, part in whole.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], part)


class _LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor any operation gave."""

    elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            self.elements = max(self.elements, tensor.numel())
        return result


def tensors_in(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (list, tuple)):
        for one in result:
            yield from tensors_in(one)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_tensor_is_larger_than_a_chunk_forwards_or_backwards(objective: Objective) -> None:
    batch, k, chunk = 60, 2, 6
    leaves = batch_of(batch, k)
    with _LargestTensor() as largest:
        objective(*leaves, chunk=chunk).backward()
    assert largest.elements == max(chunk * batch * k, batch * k * WIDTH)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_backward_pass_keeps_no_logits(objective: Objective) -> None:
    batch, chunk = 60, 6
    leaves = batch_of(batch, 1)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = objective(*leaves, chunk=chunk)
    assert loss.requires_grad
    assert max(kept.values(), default=0) < chunk * batch * 8


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_autocast_around_it_changes_nothing(objective: Objective) -> None:
    images, texts, scale = (leaf.detach().float() for leaf in batch_of(8, 1))
    with torch.autocast("cpu", torch.bfloat16):
        inside = [objective(images, texts, scale, chunk=chunk) for chunk in (0, 3)]
    outside = [objective(images, texts, scale, chunk=chunk) for chunk in (0, 3)]
    assert all(map(torch.equal, inside, outside))


def test_empty_share_is_a_zero_that_takes_part() -> None:
    leaves = batch_of(5, 2)
    loss, *gradients = loss_and_gradients(smoothed(*leaves, rows=slice(2, 2)), leaves)
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients)
    assert math.isfinite(float(loss))


@pytest.mark.parametrize("rows", [slice(0, 6), slice(3, 2), slice(0, 4, 2)])
def test_rows_that_are_no_run_of_the_batch_are_a_broken_invariant(rows: slice) -> None:
    with pytest.raises(AssertionError):
        counted_rows(rows, 5)
