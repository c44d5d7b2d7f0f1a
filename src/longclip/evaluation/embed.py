"""A collection's images and texts through an encoder, in batches, bad images left out."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from longclip._progress import OnProgress
from longclip.data.collection import Collection
from longclip.evaluation.encoder import Encoder
from longclip.inputs import ImageError, TruncationWarning

# The encoder sorts what it is given by length; a few thousand texts are enough to sort well.
_TEXTS_PER_CALL = 2048


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
    on_progress: OnProgress | None = None,
) -> ImageEmbeddings:
    """Embed every image that can be read.

    Raises ValueError where more than `max_bad_fraction` of the images cannot: what is measured
    on the rest would no longer be this collection.
    """
    stage, total = f"{collection.name}: images", len(collection)
    if not total:
        raise ValueError(f"{collection.name} has no images")
    report(on_progress, stage, 0, total)
    parts: list[torch.Tensor] = []
    indices: list[int] = []
    bad: list[BadImage] = []
    for start in range(0, total, batch_size):
        batch: list[Image.Image] = []
        end = min(start + batch_size, total)
        for index in range(start, end):
            try:
                batch.append(collection.image(index))
            except ImageError as error:
                bad.append(BadImage(index, str(error)))
            else:
                indices.append(index)
        if batch:
            parts.append(_rankable(encoder.encode_image(batch)))
        report(on_progress, stage, end, total)
    if not parts or len(bad) > max_bad_fraction * total:
        raise ValueError(
            f"{len(bad)} of {total} images of {collection.name} cannot be read, more than "
            f"{max_bad_fraction:.0%} (first: {bad[0].reason}); repair the collection, or raise "
            "max_bad_fraction"
        )
    return ImageEmbeddings(torch.cat(parts), tuple(indices), tuple(bad))


def embed_texts(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    stage: str = "texts",
    on_progress: OnProgress | None = None,
) -> torch.Tensor:
    """float32 [M, D], in the order of `texts`."""
    report(on_progress, stage, 0, len(texts))
    parts: list[torch.Tensor] = []
    for start in range(0, len(texts), _TEXTS_PER_CALL):
        part = texts[start : start + _TEXTS_PER_CALL]
        with warnings.catch_warnings():
            # What is cut is the object of study here, and counted in the results.
            warnings.simplefilter("ignore", TruncationWarning)
            parts.append(_rankable(encoder.encode_text(part)))
        report(on_progress, stage, start + len(part), len(texts))
    return torch.cat(parts)


def _rankable(embeddings: torch.Tensor) -> torch.Tensor:
    # Ranking is exact in float64, which Apple's GPUs do not have.
    embeddings = embeddings.detach().float()
    return embeddings.cpu() if embeddings.device.type == "mps" else embeddings


def report(on_progress: OnProgress | None, stage: str, done: int, total: int) -> None:
    """Tell `on_progress`, where there is one."""
    if on_progress:
        on_progress(stage, done, total)
