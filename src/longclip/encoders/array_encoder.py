"""A model computed on NumPy arrays: its settings, and checks of what goes in and comes out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longclip.encoders.model_encoder import ModelEncoder, Vectors
from longclip.encoders.model_settings import ModelSettings
from longclip.errors import EncoderError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.model.config import CLIPConfig
from longclip.model.own_tokenizer import check_own_tokenizer, own_tokenizer
from longclip.text.tokenizer import TextTokenizer


class ArrayEncoder(ModelEncoder):
    """A model on the CPU whose shape, pictures and tokens the files beside its weights describe.

    Args:
        name: what it was opened from.
        settings: what those files say.
    """

    def __init__(self, name: str, settings: ModelSettings) -> None:
        self.name = name
        self.settings = settings

    @property
    def config(self) -> CLIPConfig:
        """Shape of the towers."""
        return self.settings.config

    @property
    def preprocess(self) -> Preprocess:
        """Way in which pictures become pixels."""
        return self.settings.preprocess

    @property
    def tokenizer(self) -> TextTokenizer:
        """Converter of texts to the model's ids."""
        return own_tokenizer(self.config, self.settings.tokenizer_files, self.name)

    def check_tokenizer(self) -> None:
        """Raise CheckpointError where texts cannot be read."""
        check_own_tokenizer(self.config, self.settings.tokenizer_files, self.name)

    def to(self, device: str) -> "ArrayEncoder":
        """Return it as it is; UsageError for any device but the CPU."""
        if device != "cpu":
            raise UsageError(
                f"--device {device} is for --engine torch: this engine ({self.engine}) computes on "
                "the CPU; take one of the two"
            )
        return self

    def check_ids(self, ids: Sequence[Sequence[int]]) -> None:
        """Check the ids of texts as `embed_ids` gets them.

        Raises:
            UsageError: if there are too many in one, none, or one that is not in the vocabulary.
        """
        for place, one in enumerate(ids):
            if not 0 < len(one) <= self.context_length:
                raise UsageError(
                    f"text {place} has {len(one)} tokens, this model reads 1 to "
                    f"{self.context_length}; tokenize with this context length"
                )
            if not 0 <= min(one) <= max(one) < self.vocab_size:
                raise UsageError(
                    f"text {place} has a token id that is not in this model's vocabulary of "
                    f"{self.vocab_size} ids; its tokenizer makes ids"
                )

    def normalized(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Return uint8 [B, H, W, 3] as float32 of that shape, with the model's mean and deviation.

        Raises:
            UsageError: if pixels are of another kind or size.
        """
        side = self.preprocess.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
            raise UsageError(
                f"pixels are {pixels.dtype} {list(pixels.shape)}, this model takes uint8 "
                f"[N, {side}, {side}, 3], as `prepare` makes them"
            )
        values = pixels.astype(np.float32)
        values /= 255
        values -= np.array(self.preprocess.mean, np.float32)
        values /= np.array(self.preprocess.std, np.float32)
        return values

    def finite(self, rows: Vectors) -> Vectors:
        """Return the rows; NaN would be the nearest to nothing, or to all.

        Raises:
            EncoderError: if some are not finite.
        """
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        if len(bad):
            raise EncoderError(
                f"{self.name} gives {len(bad)} of {len(rows)} embeddings that are not finite "
                f"(first: number {bad[0]}): its weights are damaged, or too large for its numbers "
                f"({self.engine}); take another file, or float32"
            )
        return rows
