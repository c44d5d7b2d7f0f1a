"""Pixels to the embeddings that are kept."""

import numpy as np
import torch
from numpy.typing import NDArray

from longclip.errors import SearchError
from longclip.model import CLIP


def encode_pixels(model: CLIP, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed uint8 [N, H, W, 3] to float32 [N, D] of length one, in one forward pass.

    Raises:
        SearchError: where the model gives numbers that are not finite.
    """
    images = torch.from_numpy(pixels)
    vectors = model.encode_pixels(images, normalize=True, batch_size=len(pixels)).cpu()
    if not vectors.isfinite().all():
        raise SearchError("the model gives embeddings that are not finite; is it damaged?")
    rows: NDArray[np.float32] = vectors.numpy()
    return rows
