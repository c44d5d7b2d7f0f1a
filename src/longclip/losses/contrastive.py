"""The two contrastive losses: InfoNCE, and the sigmoid loss, which judges every pair by itself."""

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longclip.losses.pairs import (
    at_least_float32,
    counted_rows,
    own_image,
    own_texts,
    similarity,
    sum_over_chunks,
    texts_per_image,
)


def info_nce(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    *,
    label_smoothing: float = 0.0,
    margin: float = 0.0,
    rows: slice | None = None,
    chunk: int = 0,
) -> Tensor:
    """Return symmetric InfoNCE: the mean of image-to-text and text-to-image cross-entropy.

    Computed in float32 at least.

    An image with K texts has the target 1/K for each of them; a text has its one image.

    A `margin` γ > 0 makes negatives with a similar text count as more similar than they are, so
    that they are pushed further away: the logits are s·(x_i·t_j + γ·h_ij). The hardness h_ij is
    the cosine of text j with the text of image i (the mean over the K of them), 0 for the image's
    own texts, and carries no gradient. Both directions see the same matrix.

    Args:
        image_features: [B, D]. Used as they are: CLIP normalises them first, primary component
            matching leaves the coarse ones as they are.
        text_features: [B·K, D]; row j belongs to row j // K of `image_features`.
        logit_scale: scalar, the inverse temperature itself (not its logarithm).
        label_smoothing: the share of the target spread over all pairs.
        margin: γ of the hard negatives.
        rows: return only the share of these images and their texts, so that the shares of all
            processes sum to the loss of the batch, and their gradients to its gradient.
        chunk: rows of logits in memory at a time, recomputed in the backward pass; 0 for all.

    Returns:
        Scalar float32 (float64 for float64 features).

    Raises:
        ValueError: if the images do not have the same number of texts each.
    """
    k = texts_per_image(image_features, text_features)
    images = at_least_float32(image_features)
    texts = text_features.to(images.dtype)
    meanings = F.normalize(texts.detach(), dim=-1)
    own_meanings = meanings.view(len(images), k, -1).mean(dim=1)
    image_side = _Side(images, own_meanings, own_texts(len(images), k, images.device))
    text_side = _Side(texts, meanings, own_image(len(images), k, images.device))
    scale = logit_scale.to(images.dtype)

    if rows is None and not chunk:
        # Both directions read one matrix here; shares and chunks have to compute it twice.
        logits = _logits(*image_side, text_side, scale, margin)
        to_text = _cross_entropy(logits, image_side.positives, label_smoothing, "mean")
        to_image = _cross_entropy(logits.T, text_side.positives, label_smoothing, "mean")
        return (to_text + to_image) / 2

    mine = counted_rows(rows, len(images))
    my_texts = slice(mine.start * k, mine.stop * k)
    block = partial(_block_loss, scale=scale, margin=margin, smoothing=label_smoothing)
    to_text = sum_over_chunks(partial(block, candidates=text_side), image_side, mine, chunk)
    to_image = sum_over_chunks(partial(block, candidates=image_side), text_side, my_texts, chunk)
    return (to_text / len(images) + to_image / len(texts)) / 2


class _Side(NamedTuple):
    """Images or texts, whose R rows are matched with the other side's.

    features: [R, D].
    meanings: [R, D], the text each row stands for, without gradient.
    positives: [R, P], the rows of the other side that belong to each.
    """

    features: Tensor
    meanings: Tensor
    positives: Tensor


def _logits(
    features: Tensor,
    meanings: Tensor,
    positives: Tensor,
    candidates: _Side,
    scale: Tensor,
    margin: float,
) -> Tensor:
    matched = similarity(features, candidates.features)
    if margin:
        # Texts stand for images in both directions, so that the matrix is the same both ways round.
        hardness = similarity(meanings, candidates.meanings)
        matched = matched + margin * hardness.scatter_(1, positives, 0)
    return scale * matched


def _block_loss(
    features: Tensor,
    meanings: Tensor,
    positives: Tensor,
    *,
    candidates: _Side,
    scale: Tensor,
    margin: float,
    smoothing: float,
) -> Tensor:
    logits = _logits(features, meanings, positives, candidates, scale, margin)
    return _cross_entropy(logits, positives, smoothing, "sum")


def _cross_entropy(
    logits: Tensor, positives: Tensor, smoothing: float, reduction: Literal["mean", "sum"]
) -> Tensor:
    """Cross-entropy of rows [R, N] whose target is spread evenly over their positives [R, P]."""
    if positives.shape[1] == 1:
        return F.cross_entropy(
            logits, positives[:, 0], label_smoothing=smoothing, reduction=reduction
        )
    # cross_entropy takes several positives only as a dense target, as large as the logits again.
    log_probabilities = logits.log_softmax(dim=1)
    on_target = log_probabilities.gather(1, positives).mean(dim=1)
    losses = -((1 - smoothing) * on_target + smoothing * log_probabilities.mean(dim=1))
    return losses.mean() if reduction == "mean" else losses.sum()


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
    texts = text_features.to(images.dtype)
    scale, bias = (value.to(images.dtype) for value in (logit_scale, logit_bias))

    def block(images: Tensor, own: Tensor) -> Tensor:
        logits = scale * similarity(images, texts) + bias
        signs = torch.full_like(logits, -1).scatter_(1, own, 1)
        # logsigmoid: a pair far on the wrong side has σ = 0 in float32 and a loss all the same.
        return -F.logsigmoid(signs * logits).sum()

    own = own_texts(len(images), k, images.device)
    mine = counted_rows(rows, len(images))
    return sum_over_chunks(block, (images, own), mine, chunk) / len(text_features)
