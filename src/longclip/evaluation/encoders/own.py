"""Our own models, with a name, a fingerprint and preprocessing in the decoding threads."""

import warnings
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from longclip import __version__
from longclip.model import CLIP
from longclip.model.identity import encoder_fingerprint
from longclip.text.tokenizer import TruncationWarning, tokenize


class CLIPEncoder:
    """A `longclip.CLIP` whose weights will not change any more."""

    def __init__(self, model: CLIP, name: str) -> None:
        self.model = model
        self.name = name

    @property
    def context_length(self) -> int:
        """That of the model."""
        return self.model.context_length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @cached_property
    def fingerprint(self) -> str:
        """Computed on first use."""
        settings = {
            "library": f"longclip {__version__}",
            "config": self.model.config.to_json(),
            "preprocess": self.model.preprocess.to_json(),
        }
        return encoder_fingerprint(self.model, settings, self._tokenize, self.prepare)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resized and cropped: uint8 [image_size, image_size, 3]."""
        return self.model.preprocess.pixels(image)

    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """float32 [N, D]."""
        return self.model.encode_text(texts)

    def encode_image(self, images: Sequence[Image.Image | NDArray[np.uint8]], /) -> torch.Tensor:
        """Pictures, or what `prepare` made of them, to float32 [N, D]."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        return self.model.encode_pixels(torch.from_numpy(np.stack(rows)))

    def _tokenize(self, texts: list[str]) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            return tokenize(texts, context_length=self.context_length)
