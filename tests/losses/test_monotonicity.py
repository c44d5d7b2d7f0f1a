"""The loss that lets no part of a text fit its image better than the whole, against plain loops."""

import pytest
import torch

from longclip.errors import UsageError
from longclip.losses import monotonicity_loss


def batch(images: int = 6, k: int = 2, width: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = ((images, width), (images, width), (images * k, width))
    leaves = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    leaves.append(torch.tensor(3.0, dtype=torch.float64))
    return [leaf.requires_grad_() for leaf in leaves]


def slow(images: torch.Tensor, full: torch.Tensor, parts: torch.Tensor, scale: float) -> float:
    k, total = len(parts) // len(images), 0.0
    for i, (x, t) in enumerate(zip(images.tolist(), full.tolist(), strict=True)):
        for p in parts.tolist()[i * k : (i + 1) * k]:
            score = sum(a * b for a, b in zip(x, t, strict=True))
            total += max(0.0, scale * (sum(a * b for a, b in zip(x, p, strict=True)) - score))
    return total / len(parts)


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_by_how_much_parts_fit_better(k: int) -> None:
    images, full, parts, scale = batch(k=k)
    expected = slow(images.detach(), full.detach(), parts.detach(), 3.0)
    assert expected > 0
    assert monotonicity_loss(images, full, parts, scale).item() == pytest.approx(
        expected, rel=1e-12
    )
    # Where every image is its text, no part of the same length fits better.
    unit = torch.nn.functional.normalize(full.detach(), dim=-1)
    shorter = torch.nn.functional.normalize(parts.detach(), dim=-1)
    assert monotonicity_loss(unit, unit, shorter, scale) == 0


def test_gradient_passes_gradcheck_and_leaves_the_temperature() -> None:
    *leaves, scale = batch()
    assert torch.autograd.gradcheck(lambda *x: monotonicity_loss(*x, scale), leaves)
    monotonicity_loss(*leaves, scale).backward()
    assert scale.grad is None


def test_shares_sum_to_the_loss_and_its_gradients() -> None:
    leaves = batch()
    whole = monotonicity_loss(*leaves)
    shares = [
        monotonicity_loss(*leaves, rows=rows) for rows in (slice(0, 1), slice(1, 1), slice(1, 6))
    ]
    torch.testing.assert_close(torch.stack(shares).sum(), whole)
    features = leaves[:3]
    for expected, *parts in zip(
        torch.autograd.grad(whole, features),
        *(torch.autograd.grad(share, features) for share in shares),
        strict=True,
    ):
        torch.testing.assert_close(torch.stack(parts).sum(0), expected)


def test_one_full_text_for_each_image() -> None:
    images, full, parts, scale = batch()
    with pytest.raises(UsageError, match="one text for each image"):
        monotonicity_loss(images, full[:3], parts, scale)
