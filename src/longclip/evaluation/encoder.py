"""The little that an evaluation asks of a model."""

from collections.abc import Sequence
from typing import Protocol

import torch
from PIL import Image


class Encoder(Protocol):
    """Two towers into one space. `longclip.CLIP` is one; so is anything with these three names."""

    @property
    def context_length(self) -> int:
        """Tokens per text, BOS and EOT among them; longer texts are cut by the encoder."""
        ...

    def encode_text(
        self, texts: Sequence[str] | Sequence[Sequence[int]], /, *, normalize: bool = False
    ) -> torch.Tensor:
        """Strings, or token ids BOS … EOT, to float32 [N, D]."""
        ...

    def encode_image(
        self, images: Sequence[Image.Image], /, *, normalize: bool = False
    ) -> torch.Tensor:
        """RGB pictures of any size to float32 [N, D]."""
        ...
