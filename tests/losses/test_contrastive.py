"""InfoNCE against sums written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from longclip.losses import info_nce


def written_out(
    image: Tensor, text: Tensor, scale: float, smoothing: float, margin: float = 0.0
) -> float:
    """Both cross-entropies entry by entry, for any number of texts per image."""
    images, texts = len(image), len(text)
    k = texts // images

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b) / float(a.norm() * b.norm())

    def logit(i: int, j: int) -> float:
        own = range(i * k, i * k + k)
        hardness = 0.0 if j in own else sum(cosine(text[o], text[j]) for o in own) / k
        return scale * (float(image[i] @ text[j]) + margin * hardness)

    def cross_entropy(logits: list[float], positives: list[int]) -> float:
        log_sum = math.log(sum(math.exp(x - max(logits)) for x in logits)) + max(logits)
        total = 0.0
        for j, value in enumerate(logits):
            target = (1 - smoothing) * (j in positives) / len(positives) + smoothing / len(logits)
            total -= target * (value - log_sum)
        return total

    to_text = sum(
        cross_entropy([logit(i, j) for j in range(texts)], [i * k + n for n in range(k)])
        for i in range(images)
    )
    to_image = sum(
        cross_entropy([logit(i, j) for i in range(images)], [j // k]) for j in range(texts)
    )
    return (to_text / images + to_image / texts) / 2


@given(
    batch=st.integers(1, 6),
    k=st.integers(1, 3),
    width=st.integers(1, 5),
    scale=st.floats(0.1, 50),
    smoothing=st.floats(0, 0.5),
    margin=st.sampled_from([0.0, 0.25, 0.5]),
    seed=st.integers(0, 1000),
)
def test_equals_the_sums(
    batch: int, k: int, width: int, scale: float, smoothing: float, margin: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    text = torch.randn(batch * k, width, generator=generator, dtype=torch.float64)
    loss = info_nce(image, text, torch.tensor(scale), label_smoothing=smoothing, margin=margin)
    assert loss.dtype == torch.float64
    expected = written_out(image, text, scale, smoothing, margin)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_one_text_per_image_keeps_its_bits() -> None:
    """Runs from before several texts and margins were possible go on with the same numbers."""
    image = torch.randn(33, 8, requires_grad=True)
    text = torch.randn(33, 8, requires_grad=True)
    scale = torch.tensor(20.0)
    logits, targets = scale * (image @ text.T), torch.arange(33)
    plain = [F.cross_entropy(way, targets, label_smoothing=0.1) for way in (logits, logits.T)]
    before = (plain[0] + plain[1]) / 2
    now = info_nce(image, text, scale, label_smoothing=0.1)
    assert torch.equal(now, before)
    gradients = torch.autograd.grad(now, (image, text))
    assert all(map(torch.equal, gradients, torch.autograd.grad(before, (image, text))))


def test_copies_of_a_text_say_what_one_says_to_the_texts() -> None:
    """K copies add ln K to image-to-text and nothing to text-to-image."""
    image, text = torch.randn(2, 6, 4, dtype=torch.float64)
    scale = torch.tensor(3.0)
    once = info_nce(image, text, scale)
    thrice = info_nce(image, text.repeat_interleave(3, dim=0), scale)
    assert thrice.item() == pytest.approx(once.item() + math.log(3) / 2)


@settings(max_examples=20)
@given(k=st.integers(1, 3), smoothing=st.sampled_from([0.0, 0.1]), seed=st.integers(0, 99))
def test_gradient_passes_gradcheck(k: int, smoothing: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    text = torch.randn(4 * k, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: info_nce(*inputs, label_smoothing=smoothing), (image, text, scale)
    )


@pytest.mark.parametrize("chunk", [0, 2])
def test_hardness_carries_no_gradient(chunk: int) -> None:
    image, text = torch.randn(2, 5, 3, dtype=torch.float64)
    scale = torch.tensor(4.0, dtype=torch.float64)
    known = F.normalize(text, dim=-1)
    hardness = (known @ known.T).fill_diagonal_(0)
    ours, theirs = text.clone().requires_grad_(), text.clone().requires_grad_()
    info_nce(image, ours, scale, margin=0.5, chunk=chunk).backward()
    logits, targets = scale * (image @ theirs.T + 0.5 * hardness), torch.arange(5)
    ((F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_margin_weighs_the_negative_with_the_similar_text() -> None:
    text = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [0.0, 0.0, 1.0]]), dim=-1)
    image = torch.zeros(3, 3, requires_grad=True)
    pushes = {}
    for margin in (0.0, 0.5):
        loss = info_nce(image, text, torch.tensor(10.0), margin=margin)
        (gradient,) = torch.autograd.grad(loss, image)
        pushes[margin] = (gradient[0] @ torch.linalg.pinv(text)).tolist()
    assert pushes[0.0][1] == pytest.approx(pushes[0.0][2])
    assert pushes[0.5][1] > 4 * pushes[0.5][2]


def test_is_float32_and_symmetric_for_half_precision() -> None:
    image, text = torch.randn(2, 4, 8).bfloat16()
    loss = info_nce(image, text, torch.tensor(10.0))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, info_nce(text, image, torch.tensor(10.0)))


def test_unpaired_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        info_nce(torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor(1.0))
