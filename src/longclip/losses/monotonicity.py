"""Monotonicity: the whole of a text fits its image at least as well as a part of it."""

from torch import Tensor
from torch.nn import functional as F

from longclip.errors import UsageError
from longclip.losses.pairs import at_least_float32, counted_rows, texts_per_image


def monotonicity_loss(
    image_features: Tensor,
    full_features: Tensor,
    part_features: Tensor,
    logit_scale: Tensor,
    *,
    rows: slice | None = None,
) -> Tensor:
    """Return 1/(B·K) · Σ_ik max(0, s·x_i·(p_ik − t_i)), by which parts fit better than their text.

    HiMo-CLIP (Wu et al., AAAI 2026, arXiv 2511.06653) asks that what is said more of an image must
    not lower its score. Its own loss (MoLo) is only the sum of two contrastive losses, of the
    images with the full texts and with their components: where both are small, the scores are
    high, and nothing in them orders the two. This term orders them, and is 0 where they are.

    A part is a text of its own, such as one sentence, or the component c of t in the leading
    directions of a batch. With t = c + r the term then says x·r ≥ 0: the detail that is not in
    these directions must not point away from the image.

    The inverse temperature only gives it the unit of the other losses. No gradient flows into it,
    since a lower one would lessen the loss and order nothing.

    Args:
        image_features: [B, D], used as they are.
        full_features: [B, D], likewise.
        part_features: [B·K, D], likewise; row j belongs to row j // K of `image_features`.
        logit_scale: scalar, the inverse temperature itself.
        rows: return only the share of these images, see `info_nce`.

    Returns:
        Scalar float32 (float64 for float64 features).

    Raises:
        ValueError: if there is not one full text and the same number of parts for each image.
    """
    k = texts_per_image(image_features, part_features)
    if full_features.shape != image_features.shape:
        raise UsageError(
            f"image features {list(image_features.shape)} and features of full texts "
            f"{list(full_features.shape)} are not pairs: give one text for each image"
        )
    images = at_least_float32(image_features)
    mine = counted_rows(rows, len(images))
    images, full = images[mine], full_features[mine].to(images.dtype)
    parts = part_features.view(-1, k, part_features.shape[1])[mine].to(images.dtype)
    excess = ((parts - full[:, None]) * images[:, None]).sum(dim=-1)
    return logit_scale.detach().to(images.dtype) * F.relu(excess).sum() / len(part_features)
