"""Distillation: a student keeps what a teacher finds similar."""

from functools import partial

from torch import Tensor
from torch.nn import functional as F

from longclip.errors import UsageError
from longclip.losses.pairs import (
    at_least_float32,
    counted_rows,
    similarity,
    sum_over_chunks,
    texts_per_image,
)


def distillation(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    teacher_image_features: Tensor,
    teacher_text_features: Tensor,
    teacher_scale: Tensor,
    *,
    rows: slice | None = None,
    chunk: int = 0,
) -> Tensor:
    """Return KL(teacher ‖ student) of the softmaxed similarities in the batch.

    The mean of two directions: over images, each a distribution over all texts, and over texts,
    each a distribution over all images. Nothing flows back into the teacher.

    Args:
        image_features: [B, D], normalised by the caller.
        text_features: [B·K, D], likewise; row j belongs to row j // K of `image_features`.
        logit_scale: scalar, the student's inverse temperature itself.
        teacher_image_features: [B, E] of the same images, normalised; E may differ from D.
        teacher_text_features: [B·K, E] of the same texts, likewise.
        teacher_scale: scalar, the teacher's inverse temperature.
        rows: return only the share of these images and their texts, see `info_nce`.
        chunk: rows of logits in memory at a time, recomputed in the backward pass; 0 for all.

    Returns:
        Scalar float32 (float64 for float64 features), 0 where the student's similarities are the
        teacher's.

    Raises:
        ValueError: if the images do not have the same number of texts each, or the teacher saw
            another batch.
    """
    k = texts_per_image(image_features, text_features)
    seen_k = texts_per_image(teacher_image_features, teacher_text_features)
    if (len(teacher_image_features), seen_k) != (len(image_features), k):
        raise UsageError(
            f"the student's batch of {len(image_features)} images and {len(text_features)} texts "
            f"is not the teacher's of {len(teacher_image_features)} and "
            f"{len(teacher_text_features)}; both must see the same batch"
        )
    images = at_least_float32(image_features)
    dtype = images.dtype
    texts = text_features.to(dtype)
    seen_images = teacher_image_features.detach().to(dtype)
    seen_texts = teacher_text_features.detach().to(dtype)
    scale, seen_scale = logit_scale.to(dtype), teacher_scale.detach().to(dtype)

    def block(ours: Tensor, seen: Tensor, candidates: Tensor, seen_candidates: Tensor) -> Tensor:
        target = seen_scale * similarity(seen, seen_candidates)
        return _divergence(scale * similarity(ours, candidates), target)

    if rows is None and not chunk:
        logits = scale * similarity(images, texts)
        target = seen_scale * similarity(seen_images, seen_texts)
        to_text = _divergence(logits, target) / len(images)
        to_image = _divergence(logits.T, target.T) / len(texts)
        return (to_text + to_image) / 2

    mine = counted_rows(rows, len(images))
    my_texts = slice(mine.start * k, mine.stop * k)
    over_texts = partial(block, candidates=texts, seen_candidates=seen_texts)
    over_images = partial(block, candidates=images, seen_candidates=seen_images)
    to_text = sum_over_chunks(over_texts, (images, seen_images), mine, chunk)
    to_image = sum_over_chunks(over_images, (texts, seen_texts), my_texts, chunk)
    return (to_text / len(images) + to_image / len(texts)) / 2


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sum over rows of KL(softmax(target) ‖ softmax(logits))."""
    return F.kl_div(
        logits.log_softmax(dim=1), target.log_softmax(dim=1), log_target=True, reduction="sum"
    )
