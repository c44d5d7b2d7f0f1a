"""A model whose towers are functions of NumPy arrays, as runtimes without torch compute them."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longclip.encoders.model_directory import ModelSettings
from longclip.encoders.model_encoder import ModelEncoder, Vectors
from longclip.errors import EncoderError, UsageError
from longclip.image.preprocess import Preprocess
from longclip.model.config import CLIPConfig
from longclip.model.micro_batches import micro_batches
from longclip.model.own_tokenizer import check_own_tokenizer, own_tokenizer
from longclip.text.tokenizer import TextTokenizer


class SettingsEncoder(ModelEncoder):
    """A model whose shape, pictures and tokens are those of the files beside its weights.

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


class ArrayEncoder(SettingsEncoder):
    """Texts sorted by length and pictures, in micro-batches, through two functions of arrays."""

    @abstractmethod
    def run_text(self, ids: NDArray[np.int64]) -> Vectors:
        """Embed ids [B, L], all but the longest padded behind their end."""

    @abstractmethod
    def run_images(self, pixels: Vectors) -> Vectors:
        """Embed normalised pixels [B, 3, H, W]."""

    def to(self, device: str) -> "ArrayEncoder":
        """Return it as it is, for it computes on the processor alone."""
        if device != "cpu":
            raise UsageError(
                f"--device {device} is for --engine torch: this engine ({self.engine}) computes on "
                "the processor; take one of the two"
            )
        return self

    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """Embed the ids of texts."""
        text = self.config.text
        assert text
        self._check_ids(ids)
        rows = np.empty((len(ids), self.embedding_dim), np.float32)
        if not len(ids):
            return rows
        lengths = [self.context_length if text.reads_padding else len(one) for one in ids]
        for batch in micro_batches(lengths, self.batch_tokens):
            shape = len(batch), max(lengths[place] for place in batch)
            padded = np.full(shape, text.pad_token_id, np.int64)
            for row, place in zip(padded, batch, strict=True):
                row[: len(ids[place])] = ids[place]
            rows[batch] = self.run_text(padded)
        return self._finite(rows)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed preprocessed pictures, in as many passes as is fastest."""
        vision = self.config.vision
        assert vision
        rows = np.empty((len(pixels), self.embedding_dim), np.float32)
        at_once = max(1, self.batch_tokens // vision.patches)
        for start in range(0, len(pixels), at_once):
            part = slice(start, start + at_once)
            rows[part] = self.run_images(self._normalized(pixels[part]))
        return self._finite(rows)

    def _check_ids(self, ids: Sequence[Sequence[int]]) -> None:
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

    def _normalized(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Return uint8 [B, H, W, 3] as float32 [B, 3, H, W], with the model's mean and range."""
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
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))

    def _finite(self, rows: Vectors) -> Vectors:
        """Return the rows; NaN would be the nearest to nothing, or to all."""
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        if len(bad):
            raise EncoderError(
                f"{self.name} gives {len(bad)} of {len(rows)} embeddings that are not finite "
                f"(first: number {bad[0]}): its weights are damaged, or too large for its numbers "
                f"({self.engine}); take another file, or float32"
            )
        return rows
