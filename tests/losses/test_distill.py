"""Distillation against divergences written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longclip.losses import distillation


def features(seed: int, *sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]


def written_out(student: Tensor, teacher: Tensor) -> float:
    """The mean over rows of KL(softmax(teacher) ‖ softmax(student))."""
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = [math.exp(x) for x in ours], [math.exp(x) for x in theirs]
        for mine, its in zip(q, p, strict=True):
            total += its / sum(p) * (math.log(its / sum(p)) - math.log(mine / sum(q)))
    return total / len(student)


@given(
    batch=st.integers(1, 5), k=st.integers(1, 3), scale=st.floats(0.1, 10), seed=st.integers(0, 99)
)
def test_equals_the_sums(batch: int, k: int, scale: float, seed: int) -> None:
    image, text, seen_image, seen_text = features(
        seed, (batch, 4), (batch * k, 4), (batch, 6), (batch * k, 6)
    )
    own, seen_scale = torch.tensor(scale, dtype=torch.float64), torch.tensor(2.0)
    loss = distillation(image, text, own, seen_image, seen_text, seen_scale)
    assert loss.dtype == torch.float64
    student, teacher = scale * image @ text.T, 2.0 * seen_image @ seen_text.T
    expected = (written_out(student, teacher) + written_out(student.T, teacher.T)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_student_like_its_teacher_has_nothing_to_learn(chunk: int) -> None:
    image, text = features(1, (5, 4), (10, 4))
    student = [image.requires_grad_(), text.requires_grad_()]
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    loss = distillation(*student, scale, *student, scale, chunk=chunk)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    for gradient in torch.autograd.grad(loss, [*student, scale]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


@settings(max_examples=15)
@given(k=st.integers(1, 3), chunk=st.sampled_from([0, 2]), seed=st.integers(0, 99))
def test_gradient_passes_gradcheck(k: int, chunk: int, seed: int) -> None:
    image, text, *teacher = features(seed, (4, 3), (4 * k, 3), (4, 5), (4 * k, 5))
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *student: distillation(*student, *teacher, torch.tensor(5.0), chunk=chunk),
        (image.requires_grad_(), text.requires_grad_(), scale),
    )


def test_nothing_flows_into_the_teacher() -> None:
    tensors = [x.requires_grad_() for x in features(2, (4, 3), (4, 3), (4, 3), (4, 3))]
    scales = [torch.tensor(3.0, requires_grad=True) for _ in range(2)]
    distillation(*tensors[:2], scales[0], *tensors[2:], scales[1]).backward()
    assert all(x.grad is not None for x in [*tensors[:2], scales[0]])
    assert all(x.grad is None for x in [*tensors[2:], scales[1]])


def test_half_precision_is_computed_in_float32() -> None:
    half = [x.bfloat16() for x in features(3, (4, 8), (4, 8), (4, 8), (4, 8))]
    scale = torch.tensor(10.0)
    loss = distillation(half[0], half[1], scale, half[2], half[3], scale)
    whole = [x.float() for x in half]
    assert torch.equal(loss, distillation(whole[0], whole[1], scale, whole[2], whole[3], scale))
    assert loss.dtype == torch.float32


def test_a_teacher_of_another_batch_is_refused() -> None:
    image, text, seen_image, seen_text = features(4, (4, 3), (4, 3), (2, 3), (4, 3))
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match="same batch"):
        distillation(image, text, one, seen_image, seen_text, one)
