"""A collection's images and texts through an encoder, in batches, bad images left out.

All calls of an encoder in an evaluation go through here, so that everywhere else embeddings are
finite float32 [N, D].
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from longclip.data.collection import Collection
from longclip.encoders.encoder import Encoder, checked_rows, encoder_name, tokenizer_of
from longclip.errors import EncoderError, ImageError, UsageError
from longclip.evaluation.cache import EmbeddingCache, EmbeddingSpace, Kind
from longclip.text.tokenizer import TruncationWarning
from longclip.util.terminal import SILENT, OnProgress
from longclip.util.threads import in_order

T = TypeVar("T")

# Encoders sort what they are given by length, for which a thousand texts are enough; and this is
# what a run that is killed has to embed again.
_TEXTS_PER_CALL = 1024
_MAX_WORKERS = 16


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
    """Embed every image that can be read, on the device where embeddings are to be ranked.

    Args:
        encoder: the model; its `fingerprint` is what embeddings are kept under.
        collection: where the images come from; it is asked by several threads at once.
        batch_size: images per call of the encoder. Batches are the same with and without a
            cache, so a run that was interrupted and goes on gives what it would have given.
        max_bad_fraction: the largest share of images that may be unreadable.
        workers: threads that decode, at most one batch ahead of the encoder; one per processor,
            at most 16, where None.
        cache: where embeddings are looked for and kept; images found there are not decoded.
        on_progress: called after every batch.

    Raises:
        ValueError: where more than `max_bad_fraction` of the images cannot be read: what is
            measured on the rest would no longer be this collection.
        EncoderError: where the encoder gives anything but finite [N, D].
    """
    stage, total = f"{collection.name}: images", len(collection)
    if not total:
        raise UsageError(f"{collection.name} has no images")
    space = _space(encoder, cache, "image")
    # An encoder of arrays brings embeddings by key of its own.
    known: _Known | None = getattr(encoder, "image_rows", None) or space
    load = _Load(collection, known, getattr(encoder, "prepare", None))
    on_progress(stage, 0, total)
    parts: list[NDArray[np.float32]] = []
    indices: list[int] = []
    bad: list[BadImage] = []
    # Threads decode the next `batch_size` images while a batch is embedded.
    loaded = in_order(load, range(total), ahead=batch_size, workers=workers, most=_MAX_WORKERS)
    with closing(loaded) as images:
        for end in range(batch_size, total + batch_size, batch_size):
            found = list(islice(images, batch_size))
            bad += [image for image in found if isinstance(image, BadImage)]
            batch = [image for image in found if isinstance(image, _Image)]
            indices += [image.index for image in batch]
            if batch:
                embed = partial(_embed_images, encoder, space, collection.name)
                parts.append(_fill([image.known for image in batch], batch, embed))
            on_progress(stage, min(end, total), total)
    if not parts or len(bad) > max_bad_fraction * total:
        raise UsageError(
            f"{len(bad)} of {total} images of {collection.name} cannot be read, more than "
            f"{max_bad_fraction:.0%} (first: {bad[0].reason}); repair the collection, or raise "
            "--max-bad-fraction"
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
    """Embed texts: float32 [M, D], in their order, on the device where they are to be ranked.

    Texts that come several times are embedded once.

    Args:
        encoder: the model; its `fingerprint` is what embeddings are kept under.
        texts: at least one.
        stage: what progress calls them.
        width: D of the images they will be compared with, checked with the first texts.
        cache: where embeddings are looked for and kept.
        on_progress: called with the number of different texts that are done.

    Raises:
        ValueError: without texts.
        EncoderError: where the encoder gives anything but finite [N, D], or not this D.
    """
    if not texts:
        raise UsageError("there are no texts to embed")
    space = _space(encoder, cache, "text")
    unique = list(dict.fromkeys(texts))

    def embed(wanted: Sequence[str]) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            # What is cut is the object of study here, and counted in the results.
            warnings.simplefilter("ignore", TruncationWarning)
            found = encoder.encode_text(wanted)
        rows = checked_rows(encoder, found, [f"the text {text!r:.80}" for text in wanted])
        if space is not None:
            space.put(wanted, rows)
        return rows

    on_progress(stage, 0, len(unique))
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(unique), _TEXTS_PER_CALL):
        part = unique[start : start + _TEXTS_PER_CALL]
        known = [space.get(text) if space is not None else None for text in part]
        found = _fill(known, part, embed)
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


def embed_as_read(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    stage: str = "texts",
    cache: EmbeddingCache | None = None,
    on_progress: OnProgress = SILENT,
) -> torch.Tensor:
    """Embed texts, those that the encoder reads alike as one: float32 [M, D], as `embed_texts`.

    Two texts that differ only behind the encoder's context are cut to the same tokens, but in
    different batches they may get embeddings that differ by rounding. Here they get the same one.
    """
    limit, tokenizer = encoder.context_length, tokenizer_of(encoder)
    if limit is not None and tokenizer is not None:
        first: dict[tuple[int, ...], str] = {}
        read = tokenizer.encode(texts, context_length=limit)
        texts = [first.setdefault(tuple(ids), text) for ids, text in zip(read, texts, strict=True)]
    return embed_texts(encoder, texts, stage=stage, cache=cache, on_progress=on_progress)


def ranking_device(encoder: Encoder) -> torch.device:
    """Return where embeddings are compared: the encoder's device, unless it lacks float64 (MPS)."""
    device = torch.device(getattr(encoder, "device", None) or "cpu")
    return torch.device("cpu") if device.type == "mps" else device


class _Known(Protocol):
    def get(self, key: str, /) -> NDArray[np.float32] | None: ...


@dataclass(frozen=True, eq=False)
class _Image:
    """An image for the encoder: its embedding where that is known, else its content."""

    index: int
    key: str
    known: NDArray[np.float32] | None
    content: Any


@dataclass(frozen=True)
class _Load:
    """Work of a thread on one image: find its embedding, or decode and prepare it."""

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


def _embed_images(
    encoder: Encoder, space: EmbeddingSpace | None, collection: str, images: Sequence[_Image]
) -> NDArray[np.float32]:
    found = encoder.encode_image([image.content for image in images])
    rows = checked_rows(encoder, found, [f"image {i.index} of {collection}" for i in images])
    if space is not None:
        space.put([image.key for image in images], rows)
    return rows


def _fill(
    known: Sequence[NDArray[np.float32] | None],
    items: Sequence[T],
    embed: Callable[[Sequence[T]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Join the known embeddings with `embed` of all other items: float32 [len(items), D]."""
    missing = [item for item, row in zip(items, known, strict=True) if row is None]
    fresh = iter(embed(missing)) if missing else iter(())
    return np.stack([next(fresh) if row is None else row for row in known])


def _space(encoder: Encoder, cache: EmbeddingCache | None, kind: Kind) -> EmbeddingSpace | None:
    # Read without a cache it would be computed for nothing: it hashes all weights.
    fingerprint = str(getattr(encoder, "fingerprint", "") or "") if cache else ""
    if cache is None or not fingerprint:
        return None
    return cache.space(fingerprint, kind, name=encoder_name(encoder))
