"""A CLIP of ours, computed by torch, as an encoder."""

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from longclip import __version__
from longclip.model import CLIP
from longclip.model.identity import encoder_fingerprint
from longclip.text.tokenizer import TextTokenizer


class CLIPEncoder:
    """A `longclip.CLIP` whose weights will not change any more."""

    def __init__(self, model: CLIP, name: str) -> None:
        self.model = model
        self.name = name

    @property
    def context_length(self) -> int:
        """Tokens that the model reads."""
        return self.model.context_length

    @property
    def tokenizer(self) -> TextTokenizer:
        """Tokenizer of the model, by which it is counted which texts are cut."""
        return self.model.tokenizer

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights and settings, computed on first use."""
        settings = {
            "library": f"longclip {__version__}",
            "config": self.model.config.to_json(),
            "preprocess": self.model.preprocess.to_json(),
        }
        if self.model.tokenizer_files:
            settings["tokenizer"] = self.model.tokenizer_files.tokenizer.digest
        tokens = partial(self.model.token_ids, warn=False)
        return encoder_fingerprint(self.model, settings, tokens, self.prepare)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop a picture: uint8 [image_size, image_size, 3]."""
        return self.model.preprocess.pixels(image)

    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """Embed texts: float32 [N, D]."""
        return self.model.encode_text(texts)

    def encode_image(self, images: Sequence[Image.Image | NDArray[np.uint8]], /) -> torch.Tensor:
        """Embed pictures, or what `prepare` made of them: float32 [N, D]."""
        rows = [self.prepare(x) if isinstance(x, Image.Image) else x for x in images]
        return self.model.encode_pixels(torch.from_numpy(np.stack(rows)))
