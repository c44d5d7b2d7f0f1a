"""A CLIP of ours, computed by torch, as an encoder."""

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from longclip import __version__
from longclip.encoders.model_encoder import ModelEncoder, Vectors
from longclip.image.preprocess import Preprocess
from longclip.model import CLIP
from longclip.model.clip import LARGE_TOKEN_BUDGET, check_model
from longclip.model.config import CLIPConfig
from longclip.model.identity import encoder_fingerprint, model_digest
from longclip.model.micro_batches import SMALL_TOKEN_BUDGET
from longclip.text.tokenizer import TextTokenizer


class CLIPEncoder(ModelEncoder):
    """A `longclip.CLIP` whose weights will not change any more.

    Raises:
        UsageError: if it is no CLIP.
    """

    def __init__(self, model: CLIP, name: str = "") -> None:
        check_model(model, type(self).__name__)
        self.model = model
        self.name = name or model.name
        self._threads = torch.get_num_threads()

    @property
    def engine(self) -> str:
        """What computes, with which numbers, and where."""
        device = "" if self.device.type == "cpu" else f" on {self.device}"
        return f"torch, {str(self.model.dtype).removeprefix('torch.')}{device}"

    @property
    def batch_tokens(self) -> int:
        """Tokens that the device computes best at once."""
        return SMALL_TOKEN_BUDGET if self.device.type == "cpu" else LARGE_TOKEN_BUDGET

    @property
    def processors(self) -> int:
        """Threads of torch; a GPU takes one batch at a time."""
        return self._threads if self.device.type == "cpu" else 1

    def share_processors(self, batches: int) -> None:
        """Set the threads of torch for the calling thread."""
        torch.set_num_threads(max(1, self._threads // batches))

    @property
    def config(self) -> CLIPConfig:
        """Shape of the towers."""
        return self.model.config

    @property
    def preprocess(self) -> Preprocess:
        """Way in which pictures become pixels."""
        return self.model.preprocess

    @property
    def tokenizer(self) -> TextTokenizer:
        """Converter of texts to the model's ids."""
        return self.model.tokenizer

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.model.device

    @cached_property
    def digest(self) -> str:
        """Hash by which a database knows the model, computed on first use."""
        return model_digest(self.model)

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

    def check_tokenizer(self) -> None:
        """Raise CheckpointError where texts cannot be read."""
        self.model.check_tokenizer()

    def to(self, device: str) -> "CLIPEncoder":
        """Move the weights, in place."""
        self.model.to(device)
        return self

    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """Embed the ids of texts."""
        return _rows(self.model.encode_text(ids))

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed preprocessed pictures in one forward pass."""
        images = torch.from_numpy(pixels)
        return _rows(self.model.encode_pixels(images, batch_size=max(1, len(pixels))))


def _rows(embeddings: torch.Tensor) -> Vectors:
    rows: Vectors = embeddings.cpu().numpy()
    return rows
