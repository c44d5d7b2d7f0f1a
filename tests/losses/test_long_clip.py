"""The losses of whole recipes against their parts."""

import pytest
import torch
from torch.nn import functional as F

from longclip.losses import info_nce, long_clip_loss, primary_components


def test_long_clip_loss_is_its_two_parts() -> None:
    image, long, short = torch.randn(3, 40, 16)
    scale = torch.tensor(20.0)
    loss = long_clip_loss(image, long, short, scale, long_weight=0.9, weight=0.3, components=8)
    assert loss.total.item() == pytest.approx(
        0.9 * loss.parts["long"].item() + 0.3 * loss.parts["short"].item()
    )
    plain = long_clip_loss(image, long, None, scale)
    assert torch.equal(plain.total, loss.parts["long"])
    assert list(plain.parts) == ["long"]
    images = F.normalize(image, dim=-1)
    u, s, v = torch.linalg.svd(images - images.mean(0), full_matrices=False)
    coarse = u[:, :8] @ torch.diag(s[:8]) @ v[:8] + images.mean(0)
    expected = info_nce(coarse, F.normalize(short, dim=-1), scale, label_smoothing=0.1)
    assert loss.parts["short"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_several_short_texts_and_a_margin_reach_the_parts(margin: float) -> None:
    image, long = torch.randn(2, 12, 16, dtype=torch.float64)
    short = torch.randn(36, 16, dtype=torch.float64)
    scale = torch.tensor(20.0)
    loss = long_clip_loss(image, long, short, scale, components=4, margin=margin)
    images, longs, shorts = (F.normalize(x, dim=-1) for x in (image, long, short))
    coarse = primary_components(images, 4)
    options = {"label_smoothing": 0.1, "margin": margin}
    torch.testing.assert_close(loss.parts["long"], info_nce(images, longs, scale, **options))
    torch.testing.assert_close(loss.parts["short"], info_nce(coarse, shorts, scale, **options))
    plain = long_clip_loss(
        image, None, short, scale, components=None, label_smoothing=0, margin=margin
    )
    torch.testing.assert_close(plain.total, info_nce(images, shorts, scale, margin=margin))
    with pytest.raises(ValueError, match="at least 1"):
        long_clip_loss(image, None, short, scale, components=0)


def test_float64_stays_and_half_precision_is_computed_in_float32() -> None:
    features = torch.randn(3, 12, 8, dtype=torch.float64)
    scale = torch.tensor(10.0)
    assert long_clip_loss(*features, scale, components=4).total.dtype == torch.float64
    half = features.bfloat16()
    loss = long_clip_loss(*half, scale, components=4).total
    assert loss.dtype == torch.float32
    assert torch.equal(loss, long_clip_loss(*half.float(), scale, components=4).total)


def test_gradient_passes_gradcheck() -> None:
    image = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    long = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    short = torch.randn(14, 4, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: long_clip_loss(*inputs, components=2, chunk=3).total,
        (image, long, short, scale),
    )
