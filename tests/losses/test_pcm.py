"""Primary components against an SVD, and their gradient against finite differences."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.errors import UsageError
from longclip.losses import IdentityWarning, components_of_variance, primary_components


def by_svd(features: torch.Tensor, k: int) -> torch.Tensor:
    mean = features.mean(dim=0, keepdim=True)
    u, s, v = torch.linalg.svd(features - mean, full_matrices=False)
    return u[:, :k] @ torch.diag(s[:k]) @ v[:k] + mean


@given(
    batch=st.integers(5, 40),
    width=st.integers(2, 24),
    k=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_equals_the_svd(batch: int, width: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IdentityWarning)
        got = primary_components(features, k)
    torch.testing.assert_close(got, by_svd(features, min(k, batch - 1)))


@settings(max_examples=20)
@given(
    batch=st.integers(6, 14), width=st.integers(3, 8), k=st.integers(1, 3), seed=st.integers(0, 99)
)
def test_gradient_passes_gradcheck_in_float64(batch: int, width: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: primary_components(x, k), (features,))


def by_variance(features: torch.Tensor, share: float) -> tuple[torch.Tensor, int]:
    """The fewest directions with that share of the variance, by an SVD and a loop."""
    _, s, _ = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False)
    variances, k = s.square().tolist(), 0
    while sum(variances[:k]) < share * sum(variances):
        k += 1
    return by_svd(features, k), k


@pytest.mark.parametrize("share", [0.01, 0.3, 0.85, 0.999])
def test_as_many_directions_stay_as_have_the_share_of_the_variance(share: float) -> None:
    features = torch.randn(40, 12, dtype=torch.float64) * torch.linspace(3, 0.1, 12).double()
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    expected, k = by_variance(theirs, share)
    found = components_of_variance(ours, share)
    torch.testing.assert_close(found, expected)
    assert torch.linalg.matrix_rank(found - found.mean(dim=0)) == k
    weights = torch.randn(40, 12, dtype=torch.float64)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    # Each group has a decomposition of its own.
    halves = [by_variance(half, share)[0] for half in features.tensor_split(2)]
    torch.testing.assert_close(components_of_variance(features, share, groups=2), torch.cat(halves))


def test_texts_that_are_all_the_same_are_their_own_components() -> None:
    features = torch.randn(1, 16).repeat(8, 1).requires_grad_()
    found = components_of_variance(features, 0.85)
    torch.testing.assert_close(found, features)
    found.square().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("share", [0.0, 1.0, 85.0])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        components_of_variance(torch.randn(8, 4), share)
    with pytest.raises(UsageError, match="does not split into 9 groups"):
        components_of_variance(torch.randn(8, 4), 0.5, groups=9)


def test_gradient_equals_autograd_through_the_svd_where_that_is_finite() -> None:
    features = torch.randn(30, 12, dtype=torch.float64)
    weights = torch.randn(30, 12, dtype=torch.float64)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    (primary_components(ours, 4) * weights).sum().backward()
    (by_svd(theirs, 4) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["identical", "two clusters", "pairs", "one direction", "zeros"])
def test_gradient_is_finite_on_degenerate_batches(kind: str, dtype: torch.dtype) -> None:
    base = torch.randn(64, 16, dtype=dtype)
    features = {
        "identical": base[:1].repeat(64, 1),
        "two clusters": base[:2].repeat(32, 1),
        "pairs": base[:32].repeat(2, 1),
        "one direction": base[:, :1] @ base[:1],
        "zeros": torch.zeros(64, 16, dtype=dtype),
    }[kind].requires_grad_()
    out = primary_components(features, 8)
    (out * torch.randn_like(out)).sum().backward()
    assert features.grad is not None
    assert torch.isfinite(out).all()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("width", [16, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_rows_never_upset_the_eigensolver(dtype: torch.dtype, width: int) -> None:
    """Their covariance is rounding of rank one, at which LAPACK fails for one draw in thirty."""
    for seed in range(100 if width == 16 else 5):
        generator = torch.Generator().manual_seed(seed)
        row = torch.randn(1, width, dtype=dtype, generator=generator)
        features = row.repeat(64, 1).requires_grad_()
        out = primary_components(features, 8)
        torch.testing.assert_close(out, features)
        out.square().sum().backward()
        assert features.grad is not None
        assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize(("rows", "k", "warned"), [(33, 32, True), (9, 8, True), (34, 32, False)])
def test_too_small_a_batch_is_the_identity_and_says_so(rows: int, k: int, warned: bool) -> None:
    features = torch.randn(rows, 64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = primary_components(features, k)
    assert [w.category for w in caught] == [IdentityWarning] * warned
    assert torch.equal(out, features) == warned


def test_groups_are_batches_of_their_own() -> None:
    features = torch.randn(60, 16)
    apart = torch.cat([primary_components(part, 4) for part in features.split(20)])
    torch.testing.assert_close(primary_components(features, 4, groups=3), apart)
    assert not torch.allclose(primary_components(features, 4), apart, atol=1e-3)


def test_groups_of_a_batch_with_bad_items_are_nearly_equal() -> None:
    features = torch.randn(58, 16)
    apart = torch.cat([primary_components(part, 4) for part in features.split([20, 19, 19])])
    torch.testing.assert_close(primary_components(features, 4, groups=3), apart)


def test_keeps_dtype_and_computes_in_float32() -> None:
    features = torch.randn(50, 16)
    half = primary_components(features.bfloat16(), 4)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, primary_components(features.bfloat16().float(), 4).bfloat16())


@pytest.mark.parametrize(("k", "groups"), [(0, 1), (4, 0), (4, 41)])
def test_impossible_wishes_are_refused(k: int, groups: int) -> None:
    with pytest.raises(ValueError, match=r"at least 1|does not split into 41"):
        primary_components(torch.randn(40, 8), k, groups=groups)
