"""The symmetric contrastive loss."""

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Symmetric InfoNCE: the mean of image-to-text and text-to-image cross-entropy, in float32.

    Args:
        image_features: [B, D]; row i belongs to row i of `text_features`. Used as they are: CLIP
            normalises them first, primary component matching leaves the coarse ones as they are.
        text_features: [B, D].
        logit_scale: scalar, the inverse temperature itself (not its logarithm).
        label_smoothing: the share of the target spread over all pairs.

    Returns:
        Scalar float32 (float64 for float64 features).

    Raises:
        ValueError: if the two batches have different shapes.
    """
    if image_features.shape != text_features.shape:
        raise ValueError(
            f"image features {list(image_features.shape)} and text features "
            f"{list(text_features.shape)} must be pairs of the same shape"
        )
    dtype = torch.promote_types(image_features.dtype, torch.float32)
    logits = logit_scale.to(dtype) * (image_features.to(dtype) @ text_features.to(dtype).T)
    targets = torch.arange(len(logits), device=logits.device)
    to_text = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    to_image = F.cross_entropy(logits.T, targets, label_smoothing=label_smoothing)
    return (to_text + to_image) / 2
