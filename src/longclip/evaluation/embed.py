"""A collection's images and texts through an encoder, in batches, bad images left out.

All calls of an encoder in an evaluation go through here, so that everywhere else embeddings are
finite float32 [N, D].
"""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from longclip.data.collection import Collection
from longclip.errors import EncoderError, ImageError, UsageError
from longclip.evaluation.cache import EmbeddingCache, EmbeddingSpace, Kind
from longclip.evaluation.encoders.encoder import (
    Encoder,
    checked_rows,
    encoder_name,
    fingerprint_of,
    ranking_device,
)
from longclip.text.tokenizer import TruncationWarning
from longclip.util.terminal import SILENT, OnProgress
from longclip.util.threads import in_order

# Encoders sort what they are given by length, for which a thousand texts are enough; and this is
# what a run that is killed has to embed again.
_TEXTS_PER_CALL = 1024
_MOST_WORKERS = 16


@dataclass(frozen=True)
class BadImage:
    """An image of the collection that could not be read, and why."""

    index: int
    reason: str


@dataclass(frozen=True, eq=False)
class ImageEmbeddings:
    """Row r of `embeddings`, float32 [N, D], is image `indices[r]` of the collection."""

    embeddings: torch.Tensor
    indices: tuple[int, ...]
    bad: tuple[BadImage, ...]


def embed_images(
    encoder: Encoder,
    collection: Collection,
    *,
    batch_size: int = 64,
    max_bad_fraction: float = 0.01,
    workers: int | None = None,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> ImageEmbeddings:
    """Embed every image that can be read.

    Args:
        encoder: what embeds; its `fingerprint` is what embeddings are kept under.
        collection: where the images come from; it is asked by several threads at once.
        batch_size: images per call of the encoder. Batches are the same stretches of the
            collection with and without a cache, so a run that was interrupted and goes on gives
            what it would have given.
        max_bad_fraction: the largest share of images that may be unreadable.
        workers: threads that decode; one per processor, at most 16, where None. They are at most
            one batch ahead of the encoder.
        cache: where embeddings are looked for and kept; images found there are not decoded.
        on_progress: told of every batch.

    Returns:
        Embeddings on the device where they are to be ranked.

    Raises:
        ValueError: where more than `max_bad_fraction` of the images cannot be read: what is
            measured on the rest would no longer be this collection.
        EncoderError: where the encoder gives anything but finite [N, D].
    """
    stage, total = f"{collection.name}: images", len(collection)
    if not total:
        raise UsageError(f"{collection.name} has no images")
    space = _space(encoder, cache, "image")
    loading = _Loading(collection, _known_images(encoder, space), getattr(encoder, "prepare", None))
    on_progress(stage, 0, total)
    parts: list[NDArray[np.float32]] = []
    indices: list[int] = []
    bad: list[BadImage] = []
    with closing(_in_order(loading, total, ahead=batch_size, workers=workers)) as images:
        for end in range(batch_size, total + batch_size, batch_size):
            batch = []
            for image in islice(images, batch_size):
                if isinstance(image, BadImage):
                    bad.append(image)
                else:
                    batch.append(image)
                    indices.append(image.index)
            if batch:
                known = [image.known for image in batch]
                embed = partial(_embed_images, encoder, space, collection, batch)
                parts.append(_fill(known, embed))
            on_progress(stage, min(end, total), total)
    if not parts or len(bad) > max_bad_fraction * total:
        raise UsageError(
            f"{len(bad)} of {total} images of {collection.name} cannot be read, more than "
            f"{max_bad_fraction:.0%} (first: {bad[0].reason}); repair the collection, or raise "
            "max_bad_fraction"
        )
    embeddings = torch.from_numpy(np.concatenate(parts)).to(ranking_device(encoder))
    return ImageEmbeddings(embeddings, tuple(indices), tuple(bad))


def embed_texts(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    stage: str = "texts",
    width: int | None = None,
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> torch.Tensor:
    """float32 [M, D], in the order of `texts`, on the device where they are to be ranked.

    Texts that come several times are embedded once.

    Args:
        encoder: what embeds; its `fingerprint` is what embeddings are kept under.
        texts: at least one.
        stage: what progress calls them.
        width: D of the images they will be compared with, to be told at once if it differs.
        cache: where embeddings are looked for and kept.
        on_progress: told how many different texts are done.

    Raises:
        ValueError: without texts.
        EncoderError: where the encoder gives anything but finite [N, D], or not this D.
    """
    if not texts:
        raise UsageError("there are no texts to embed")
    space = _space(encoder, cache, "text")
    unique = list(dict.fromkeys(texts))
    on_progress(stage, 0, len(unique))
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(unique), _TEXTS_PER_CALL):
        part = unique[start : start + _TEXTS_PER_CALL]
        known = [space.get(text) if space is not None else None for text in part]
        found = _fill(known, partial(_embed_texts, encoder, space, part))
        if width is not None and found.shape[1] != width:
            raise EncoderError(
                f"{encoder_name(encoder)} gives texts {found.shape[1]} numbers and images {width}; "
                "two towers without a joint space cannot be compared"
            )
        parts.append(found)
        on_progress(stage, start + len(part), len(unique))
    place = {text: row for row, text in enumerate(unique)}
    rows = np.concatenate(parts)[[place[text] for text in texts]]
    return torch.from_numpy(rows).to(ranking_device(encoder))


class _Known(Protocol):
    def get(self, key: str, /) -> NDArray[np.float32] | None: ...


@dataclass(frozen=True, eq=False)
class _Image:
    """On its way to the encoder: its embedding where that is known, else what is to be embedded."""

    index: int
    key: str
    known: NDArray[np.float32] | None
    content: Any


@dataclass(frozen=True)
class _Loading:
    """What a thread does for one image."""

    collection: Collection
    known: _Known | None
    prepare: Callable[[Any], Any] | None

    def __call__(self, index: int) -> _Image | BadImage:
        try:
            key = "" if self.known is None else self.collection.key(index)
            known = None if self.known is None else self.known.get(key)
            if known is not None:
                return _Image(index, key, known, None)
            picture = self.collection.image(index)
            content = self.prepare(picture) if self.prepare else picture
        except ImageError as error:
            return BadImage(index, str(error))
        return _Image(index, key, None, content)


def _in_order(
    loading: _Loading, total: int, *, ahead: int, workers: int | None
) -> Generator[_Image | BadImage]:
    """All images, decoded by threads: the next `ahead` are ready while a batch is embedded."""
    return in_order(loading, range(total), ahead=ahead, workers=workers, most=_MOST_WORKERS)


def _embed_images(
    encoder: Encoder,
    space: EmbeddingSpace | None,
    collection: Collection,
    batch: Sequence[_Image],
    missing: Sequence[int],
) -> NDArray[np.float32]:
    images = [batch[i] for i in missing]
    found = encoder.encode_image([image.content for image in images])
    names = [f"image {image.index} of {collection.name}" for image in images]
    rows = checked_rows(encoder, found, names)
    if space is not None:
        space.put([image.key for image in images], rows)
    return rows


def _embed_texts(
    encoder: Encoder, space: EmbeddingSpace | None, part: Sequence[str], missing: Sequence[int]
) -> NDArray[np.float32]:
    texts = [part[i] for i in missing]
    with warnings.catch_warnings():
        # What is cut is the object of study here, and counted in the results.
        warnings.simplefilter("ignore", TruncationWarning)
        found = encoder.encode_text(texts)
    rows = checked_rows(encoder, found, [f"the text {text!r:.80}" for text in texts])
    if space is not None:
        space.put(texts, rows)
    return rows


def _fill(
    known: Sequence[NDArray[np.float32] | None],
    embed: Callable[[Sequence[int]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """float32 [len(known), D]: what is known, and `embed` of the places where nothing is."""
    missing = [i for i, row in enumerate(known) if row is None]
    fresh = iter(embed(missing)) if missing else iter(())
    return np.stack([next(fresh) if row is None else row for row in known])


def _space(encoder: Encoder, cache: EmbeddingCache | None, kind: Kind) -> EmbeddingSpace | None:
    fingerprint = fingerprint_of(encoder) if cache else ""
    if cache is None or not fingerprint:
        return None
    return cache.space(fingerprint, kind, name=encoder_name(encoder))


def _known_images(encoder: Encoder, space: EmbeddingSpace | None) -> _Known | None:
    """Where embeddings may be found by key: an encoder of arrays brings its own."""
    own: _Known | None = getattr(encoder, "image_rows", None)
    return own if own is not None else space
