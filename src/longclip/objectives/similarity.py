"""The matrix that losses look at: B images against B·K texts, text j belonging to image j // K."""

import torch
from torch import Tensor

from longclip.errors import UsageError


def at_least_float32(features: Tensor) -> Tensor:
    """Low precision becomes float32; float32 and float64 stay what they are."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def similarity(queries: Tensor, candidates: Tensor) -> Tensor:
    """Dot products [R, N] of rows [R, D] with rows [N, D], in the precision of the inputs."""
    # Autocast would take the product in bfloat16, whose steps near 1 are as large as the
    # differences between hard negatives.
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ candidates.T


def texts_per_image(image_features: Tensor, text_features: Tensor) -> int:
    """K of [B, D] images and [B·K, D] texts.

    Raises:
        ValueError: if they are not B images with the same number of texts each, in one width.
    """
    images, texts = len(image_features), len(text_features)
    same_width = image_features.shape[1:] == text_features.shape[1:]
    if not same_width or not images or not texts or texts % images:
        raise UsageError(
            f"image features {list(image_features.shape)} and text features "
            f"{list(text_features.shape)} are not pairs: give [B, D] and [B·K, D], "
            "the K texts of an image one after another"
        )
    return texts // images


def own_texts(images: int, k: int, device: torch.device) -> Tensor:
    """[B, K]: which texts belong to each image."""
    return torch.arange(images * k, device=device).view(images, k)


def own_image(images: int, k: int, device: torch.device) -> Tensor:
    """[B·K, 1]: which image each text belongs to."""
    return torch.arange(images, device=device).repeat_interleave(k)[:, None]
