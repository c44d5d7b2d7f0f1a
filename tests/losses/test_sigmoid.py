"""The sigmoid loss against its sum written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.losses import sigmoid_loss


@given(
    batch=st.integers(1, 6),
    k=st.integers(1, 3),
    width=st.integers(1, 5),
    scale=st.floats(0.1, 20),
    bias=st.floats(-10, 10),
    seed=st.integers(0, 1000),
)
def test_equals_the_sum(
    batch: int, k: int, width: int, scale: float, bias: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    text = torch.randn(batch * k, width, generator=generator, dtype=torch.float64)
    total = 0.0
    for i in range(batch):
        for j in range(batch * k):
            sign = 1 if j // k == i else -1
            logit = sign * (scale * float(image[i] @ text[j]) + bias)
            total += math.log1p(math.exp(-abs(logit))) - min(logit, 0)
    loss = sigmoid_loss(image, text, torch.tensor(scale), torch.tensor(bias))
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(total / (batch * k), rel=1e-5)


def test_copies_of_a_text_change_nothing() -> None:
    image, text = torch.randn(2, 6, 4, dtype=torch.float64)
    scale, bias = torch.tensor(5.0), torch.tensor(-3.0)
    copies = text.repeat_interleave(3, dim=0)
    torch.testing.assert_close(
        sigmoid_loss(image, copies, scale, bias), sigmoid_loss(image, text, scale, bias)
    )


@settings(max_examples=15)
@given(k=st.integers(1, 3), chunk=st.sampled_from([0, 2]), seed=st.integers(0, 99))
def test_gradient_passes_gradcheck(k: int, chunk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    text = torch.randn(4 * k, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: sigmoid_loss(*inputs, chunk=chunk), (image, text, scale, bias)
    )


def test_half_precision_is_computed_in_float32() -> None:
    image, text = torch.randn(2, 4, 8).bfloat16()
    scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
    loss = sigmoid_loss(image, text, scale, bias)
    assert torch.equal(loss, sigmoid_loss(image.float(), text.float(), scale, bias))
    assert loss.dtype == torch.float32
