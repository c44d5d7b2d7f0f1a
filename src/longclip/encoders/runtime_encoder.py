"""A model whose towers a runtime computes, batch by batch: padded ids and pixels to embeddings."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longclip.encoders.array_encoder import ArrayEncoder
from longclip.encoders.model_encoder import Vectors
from longclip.model.micro_batches import micro_batches


class RuntimeEncoder(ArrayEncoder):
    """Texts sorted by length and pictures, in micro-batches, through two functions of a runtime."""

    @abstractmethod
    def run_text(self, ids: NDArray[np.int64]) -> Vectors:
        """Embed ids [B, L], all but the longest padded behind their end."""

    @abstractmethod
    def run_images(self, pixels: Vectors) -> Vectors:
        """Embed normalised pixels [B, 3, H, W]."""

    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """Embed the ids of texts."""
        text = self.config.text
        assert text
        self.check_ids(ids)
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
        return self.finite(rows)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Embed preprocessed pictures, in as many passes as is fastest."""
        vision = self.config.vision
        assert vision
        rows = np.empty((len(pixels), self.embedding_dim), np.float32)
        at_once = max(1, self.batch_tokens // vision.patches)
        for start in range(0, len(pixels), at_once):
            part = slice(start, start + at_once)
            channels_first = self.normalized(pixels[part]).transpose(0, 3, 1, 2)
            rows[part] = self.run_images(np.ascontiguousarray(channels_first))
        return self.finite(rows)
