"""Embedding of texts and images for the service, and a cache of recent embeddings."""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.encoders.model_encoder import ModelEncoder, unit

Tokens = tuple[int, ...]
"""The ids of a text, begin and end included."""

Pixels = NDArray[np.uint8]
"""A preprocessed image: uint8 [image_size, image_size, 3]."""

Input = Tokens | Pixels

Vectors = NDArray[np.float32]

MAX_CACHED_BYTES = 64 << 20
"""Of embeddings that are kept, with their keys: 30,000 of 512 numbers."""

_KEY_BYTES = 256
"""What keeping one takes besides its numbers."""


class Embedder:
    """Model as a function of inputs of both kinds."""

    def __init__(self, encoder: ModelEncoder) -> None:
        self.encoder = encoder
        text, vision = encoder.config.text, encoder.config.vision
        self._image_tokens = vision.patches if vision else 0
        self._least_tokens = encoder.context_length if text and text.reads_padding else 0

    def tokens(self, text: str) -> Tokens:
        """Return the ids of a whole text, however long it is."""
        return tuple(self.encoder.tokenizer.encode([text])[0])

    def pixels(self, image: Image.Image) -> Pixels:
        """Preprocess an image; raises ImageError where it has no usable shape."""
        return self.encoder.prepare(image)

    def cost(self, item: Input) -> int:
        """Return the tokens of a text, with padding where it is read; the patches of an image."""
        if not isinstance(item, tuple):
            return self._image_tokens
        return max(len(item), self._least_tokens)

    def __call__(self, items: Sequence[Input]) -> NDArray[np.float32]:
        """Embed to float32 [N, D], each row of length one, in the order of `items`."""
        rows = np.empty((len(items), self.encoder.embedding_dim), np.float32)
        texts = {i: item for i, item in enumerate(items) if isinstance(item, tuple)}
        images = {i: item for i, item in enumerate(items) if not isinstance(item, tuple)}
        if texts:
            # Of requests that wait together many have a sentence in common.
            distinct = {item: number for number, item in enumerate(dict.fromkeys(texts.values()))}
            found = self.encoder.embed_ids(list(distinct))
            rows[list(texts)] = found[[distinct[item] for item in texts.values()]]
        if images:
            rows[list(images)] = self.encoder.embed_pixels(np.stack(list(images.values())))
        return unit(rows)


class RecentEmbeddings:
    """Embeds only what it has not embedded lately. Used by the event loop alone.

    People who look for a picture ask almost the same again and again: the next page of the same
    query, the description with one sentence changed, another filter.

    Args:
        embed: items to float32 [N, D], in their order.
        most: embeddings that are kept; those that were used last.
    """

    @staticmethod
    def most(width: int) -> int:
        """Return how many embeddings of so many numbers are kept."""
        return MAX_CACHED_BYTES // (4 * width + _KEY_BYTES)

    def __init__(
        self,
        embed: Callable[[Sequence[Input]], Awaitable[Vectors]],
        most: int,
    ) -> None:
        self._embed = embed
        self._most = most
        self._kept: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    async def __call__(self, items: Sequence[Input]) -> Vectors:
        """Embed at least one item to float32 [len(items), D]."""
        keys = list(map(_key, items))
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if missing:
            rows = await self._embed(list(missing.values()))
            found |= dict(zip(missing, rows, strict=True))
        for key, row in found.items():
            # A copy, as a row alone would keep its whole batch in memory.
            self._kept.setdefault(key, row.copy())
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return np.stack([found[key] for key in keys])


def _key(item: Input) -> bytes:
    """Return what stands for an input: a hash, as long texts and pictures are larger."""
    kind, content = (b"t", array("l", item)) if isinstance(item, tuple) else (b"i", item)
    return hashlib.blake2b(content.tobytes(), digest_size=20, person=kind).digest()
