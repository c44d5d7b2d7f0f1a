"""Pairs as losses see them: B images against B·K texts, text j belonging to image j // K.

Also the part of a loss that one process accounts for, a chunk of rows in memory at a time.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from longclip.errors import UsageError


def at_least_float32(features: Tensor) -> Tensor:
    """Return features of low precision in float32, those of float32 and float64 unchanged."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def similarity(queries: Tensor, candidates: Tensor) -> Tensor:
    """Return dot products [R, N] of rows [R, D] with [N, D], in the precision of the inputs."""
    # Autocast would take the product in bfloat16, whose steps near 1 are as large as the
    # differences between hard negatives.
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ candidates.T


def texts_per_image(image_features: Tensor, text_features: Tensor) -> int:
    """Return K, given [B, D] images and [B·K, D] texts.

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
    """Return the places of each image's texts, int64 [B, K]."""
    return torch.arange(images * k, device=device).view(images, k)


def own_image(images: int, k: int, device: torch.device) -> Tensor:
    """Return the place of each text's image, int64 [B·K, 1]."""
    return torch.arange(images, device=device).repeat_interleave(k)[:, None]


def counted_rows(rows: slice | None, total: int) -> slice:
    """Return `rows` with its ends filled in, all of `total` rows for None; it may be empty."""
    if rows is None:
        return slice(0, total)
    start, stop, step = rows.indices(total)
    assert step == 1, f"{rows} is not a contiguous run of rows"
    assert start <= stop, f"{rows} ends before it starts"
    assert rows.stop is None or rows.stop <= total, f"{rows} of {total} rows"
    return slice(start, stop)


def sum_over_chunks(
    block: Callable[..., Tensor], tensors: Sequence[Tensor], rows: slice, chunk: int
) -> Tensor:
    """Return the sum of `block(*parts)`, a scalar sum over rows, for `rows` of all `tensors`.

    With `chunk` > 0 that many rows are done at a time and done again in the backward pass, so what
    a block computes inside never exists for more rows than that. No rows sum to a zero that still
    has a backward pass, which a process without rows needs to take part in the others' collectives.
    """
    parts = [tensor[rows] for tensor in tensors]
    if not chunk:
        return block(*parts)
    chunks = zip(*(torch.split(part, chunk) for part in parts), strict=True)
    # No loss draws random numbers, so there is no generator state to keep.
    sums = [
        checkpoint(block, *portion, use_reentrant=False, preserve_rng_state=False)
        for portion in chunks
    ]
    return torch.stack(sums).sum()
