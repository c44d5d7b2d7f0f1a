"""Primary component extraction: what is left of a batch of features in its top k directions.

Long-CLIP (Zhang et al., ECCV 2024, section 3.3) matches this coarse image feature with a short
caption while the full one is matched with the long caption. HiMo-CLIP does it to texts.
"""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from longclip.errors import UsageError

COMPONENTS = 32
"""The published number of principal directions."""


class IdentityWarning(UserWarning):
    """The batch is so small that keeping k components keeps everything."""


def primary_components(features: Tensor, k: int = COMPONENTS, *, groups: int = 1) -> Tensor:
    """Project a batch on its mean plus its k principal directions.

    Args:
        features: [B, D], L2-normalised in Long-CLIP. The result is *not* normalised again.
        k: how many principal directions stay.
        groups: split the batch into this many parts, as equal as can be, with a PCA of their own.
            The published code's PCA is per GPU, so `groups` GPUs' worth of it is reproduced on
            any number of devices; 1 is the PCA of the whole batch.

    Returns:
        [B, D] in the dtype of `features`; computed in float32 at least.

    Raises:
        ValueError: if k < 1, or there are no rows for each of so many groups.

    Warns:
        IdentityWarning: if a part has at most k + 1 rows. Its PCA is then the identity, and
            matching it with a short caption does nothing that plain matching would not do.
    """
    rows = len(features)
    if k < 1 or groups < 1:
        raise UsageError(f"k and groups must be at least 1, not {k} and {groups}")
    if rows < groups:
        raise UsageError(f"a batch of {rows} does not split into {groups} groups")
    if rows // groups <= k + 1:
        warnings.warn(
            f"primary component matching changes nothing: {rows // groups} images have at most "
            f"{rows // groups - 1} principal components, and {k} are kept; take {k + 2} images or "
            "more per group, or keep fewer components",
            IdentityWarning,
            stacklevel=2,
        )
        return features
    return _projected(features, k, groups)


def components_of_variance(features: Tensor, share: float, *, groups: int = 1) -> Tensor:
    """Project a batch on its mean and its fewest directions with a share of the variance.

    The semantic components of HiMo-CLIP's hierarchical decomposition (HiDe; Wu et al., AAAI 2026,
    arXiv 2511.06653): how many directions are kept, the texts of a batch decide. Which they are is
    piecewise constant in the features, so the gradient is that of `primary_components`.

    Args:
        features: [B, D], L2-normalised in HiMo-CLIP. The result is *not* normalised again.
        share: of the batch's variance, above 0 and below 1; 0.85 in the published code.
        groups: see `primary_components`.

    Returns:
        [B, D] in the dtype of `features`; computed in float32 at least.

    Raises:
        ValueError: if the share is none, or there are no rows for each of so many groups.
    """
    if not 0 < share < 1:
        raise UsageError(f"the share of the variance must lie between 0 and 1, not be {share}")
    if groups < 1 or len(features) < groups:
        raise UsageError(f"a batch of {len(features)} does not split into {groups} groups")
    return _projected(features, share, groups)


def _projected(features: Tensor, kept: int | float, groups: int) -> Tensor:
    """Return each group's mean plus its rows in the directions that are `kept`."""
    dtype = torch.promote_types(features.dtype, torch.float32)
    reconstructed = []
    # Autocast would take the covariance in bfloat16.
    with torch.autocast(features.device.type, enabled=False):
        for part in features.to(dtype).tensor_split(groups):
            mean = part.mean(dim=0, keepdim=True)
            rounding = (8 * torch.finfo(dtype).eps * mean.detach()).square().sum() * len(part)
            projected: Tensor = _Projection.apply(part - mean, rounding, kept)  # type: ignore[no-untyped-call]
            reconstructed.append(projected + mean)
        return torch.cat(reconstructed).to(features.dtype)


class _Projection(torch.autograd.Function):
    """C → C P, with P the projector on the leading eigenvectors of S = CᵀC.

    An integer says how many, a fraction which share of the trace they have at least.

    Autograd through an SVD or eigh divides by every eigenvalue gap, also inside the kept and the
    dropped part, where equal values (duplicates, clusters) give NaN. The projector does not depend
    on the basis inside either part, so its exact derivative has only the gaps *between* the two:

        dS ↦ dP = Σ_{kept a, dropped b} (v_bᵀ dS v_a) / (λ_a − λ_b) · (v_b v_aᵀ + v_a v_bᵀ)

    With upstream gradient G and M = CᵀG + GᵀC the transpose of that map gives
    X = V_b K V_aᵀ, K = V_bᵀ M V_a / (λ_a − λ_b), and the gradient G P + C (X + Xᵀ). Where a gap
    between the parts is itself zero the projector is not unique; that term is left out.

    `rounding` is the sum of squares of C that rounding of the mean alone can leave. A batch with no
    more than that, all rows the same, counts as S = 0. Its own S is of rank one to the last bit;
    LAPACK's remainders of it underflow, and eigh then returns NaN or does not converge.
    """

    @staticmethod
    def forward(ctx: Any, centred: Tensor, rounding: Tensor, wanted: int | float) -> Tensor:
        squares = centred.T @ centred
        # A choice of values, not a branch: a GPU need not be waited for.
        squares = torch.where(squares.trace() > rounding, squares, torch.zeros_like(squares))
        values, vectors = torch.linalg.eigh(squares)
        k = wanted  # eigh sorts its values from small to large
        if isinstance(k, float):
            sums = values.clamp(min=0).flip(0).cumsum(0)
            k = min(int((sums < k * sums[-1]).sum()) + 1, len(values))
        kept = vectors[:, -k:]
        ctx.save_for_backward(centred, values, vectors)
        ctx.k = k
        projected: Tensor = centred @ kept @ kept.T
        return projected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        centred, values, vectors = ctx.saved_tensors
        dropped, kept = vectors[:, : -ctx.k], vectors[:, -ctx.k :]
        mixed = centred.T @ upstream
        gaps = values[-ctx.k :][None, :] - values[: -ctx.k][:, None]
        # Gaps within eigh's rounding error are as good as zero; dividing by one amplifies noise.
        negligible = gaps <= torch.finfo(values.dtype).eps * values[-1]
        between = (dropped.T @ (mixed + mixed.T) @ kept) / gaps.masked_fill(negligible, torch.inf)
        gradient = dropped @ between @ kept.T
        # The first term is the projector held fixed, the second its turning with the batch.
        return upstream @ kept @ kept.T + centred @ (gradient + gradient.T), None, None
