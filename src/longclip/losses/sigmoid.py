"""The sigmoid loss: every (image, text) pair judged by itself as belonging together or not."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from longclip.losses.pairs import (
    at_least_float32,
    counted_rows,
    own_texts,
    similarity,
    sum_over_chunks,
    texts_per_image,
)


def sigmoid_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    *,
    rows: slice | None = None,
    chunk: int = 0,
) -> Tensor:
    """Return −1/(B·K) · Σ_ij log σ(z_ij · (s·x_i·t_j + b)).

    z is 1 for an image's own texts, else −1.

    SigLIP (Zhai et al., ICCV 2023, equation 1) with K positives per image as in β-CLIP. SigLIP
    divides by the B positives; here there are B·K of them, each with B − 1 negatives in its
    column, so dividing by B·K keeps both terms at SigLIP's weight: the loss is the mean over texts
    of SigLIP's loss of a text, K copies of a text give what one gives, and the bias that balances
    one positive against B − 1 negatives does not depend on K.

    Args:
        image_features: [B, D], L2-normalised in SigLIP. Used as they are.
        text_features: [B·K, D], likewise; row j belongs to row j // K of `image_features`.
        logit_scale: scalar s, the inverse temperature itself (SigLIP starts at 10).
        logit_bias: scalar b (SigLIP starts at −10).
        rows: return only the share of these images, see `info_nce`.
        chunk: rows of logits in memory at a time, recomputed in the backward pass; 0 for all.

    Returns:
        Scalar float32 (float64 for float64 features).

    Raises:
        ValueError: if the images do not have the same number of texts each.
    """
    k = texts_per_image(image_features, text_features)
    images = at_least_float32(image_features)
    block = partial(
        _block_loss,
        texts=text_features.to(images.dtype),
        scale=logit_scale.to(images.dtype),
        bias=logit_bias.to(images.dtype),
    )
    own = own_texts(len(images), k, images.device)
    mine = counted_rows(rows, len(images))
    return sum_over_chunks(block, (images, own), mine, chunk) / len(text_features)


def _block_loss(
    images: Tensor, own: Tensor, *, texts: Tensor, scale: Tensor, bias: Tensor
) -> Tensor:
    logits = scale * similarity(images, texts) + bias
    signs = torch.full_like(logits, -1).scatter_(1, own, 1)
    return -F.logsigmoid(signs * logits).sum()
