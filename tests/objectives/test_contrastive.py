"""InfoNCE against sums written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from longclip.objectives import contrastive_loss, info_nce, long_clip_loss


def written_out(image: torch.Tensor, text: torch.Tensor, scale: float, smoothing: float) -> float:
    def one_way(a: torch.Tensor, b: torch.Tensor) -> float:
        total = 0.0
        for i in range(len(a)):
            logits = [scale * float(a[i] @ b[j]) for j in range(len(b))]
            log_sum = math.log(sum(math.exp(x - max(logits)) for x in logits)) + max(logits)
            for j, logit in enumerate(logits):
                target = (1 - smoothing) * (i == j) + smoothing / len(b)
                total -= target * (logit - log_sum)
        return total / len(a)

    return (one_way(image, text) + one_way(text, image)) / 2


@given(
    batch=st.integers(1, 6),
    width=st.integers(1, 5),
    scale=st.floats(0.1, 50),
    smoothing=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_equals_the_sums(batch: int, width: int, scale: float, smoothing: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    text = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    loss = info_nce(image, text, torch.tensor(scale), label_smoothing=smoothing)
    assert loss.item() == pytest.approx(written_out(image, text, scale, smoothing), rel=1e-5)


def test_is_float32_and_symmetric_for_half_precision() -> None:
    image, text = torch.randn(2, 4, 8).bfloat16()
    loss = info_nce(image, text, torch.tensor(10.0))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, info_nce(text, image, torch.tensor(10.0)))


def test_unpaired_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        info_nce(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor(1.0))


def test_long_clip_loss_is_its_two_parts() -> None:
    image, long, short = torch.randn(3, 40, 16)
    scale = torch.tensor(20.0)
    loss = long_clip_loss(image, long, short, scale, weight=0.3, components=8)
    assert loss.total.item() == pytest.approx(
        loss.parts["long"].item() + 0.3 * loss.parts["short"].item()
    )
    plain = contrastive_loss(image, long, scale, name="long", label_smoothing=0.1)
    assert torch.equal(plain.total, loss.parts["long"])
    images = F.normalize(image, dim=-1)
    u, s, v = torch.linalg.svd(images - images.mean(0), full_matrices=False)
    coarse = u[:, :8] @ torch.diag(s[:8]) @ v[:8] + images.mean(0)
    expected = info_nce(coarse, F.normalize(short, dim=-1), scale, label_smoothing=0.1)
    assert loss.parts["short"].item() == pytest.approx(expected.item(), rel=1e-5)
