"""Which texts of a collection compete, and to which image each belongs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from longclip.data.collection import Captions, Collection


@dataclass(frozen=True, eq=False)
class TextPool:
    """Texts against images. `image_rows` are rows of an embedding matrix, each with ≥ 1 text;
    text t belongs to image `image_rows[image_of_text[t]]`.
    """

    texts: tuple[str, ...]
    image_rows: tuple[int, ...]
    image_of_text: torch.Tensor


def long_texts(captions: Captions) -> tuple[str, ...]:
    """The long descriptions; without any, two or more short captions joined in their order.

    Joining is how a collection of short captions (Flickr, COCO) becomes one long text per image.
    A single short caption is no long text.
    """
    if captions.long:
        return captions.long
    return (" ".join(captions.short),) if len(captions.short) > 1 else ()


def short_texts(captions: Captions) -> tuple[str, ...]:
    """Every short caption: each is a query, and each counts as a hit for its image."""
    return captions.short


def text_pool(
    collection: Collection,
    indices: Sequence[int],
    texts_of: Callable[[Captions], tuple[str, ...]],
) -> TextPool | None:
    """The pool over the images `indices` of the collection; row r is image `indices[r]`.

    Images without such a text are no part of it. None where no image has one.
    """
    texts: list[str] = []
    image_rows: list[int] = []
    image_of_text: list[int] = []
    for row, index in enumerate(indices):
        own = texts_of(collection.captions(index))
        if own:
            image_of_text += [len(image_rows)] * len(own)
            image_rows.append(row)
            texts += own
    if not texts:
        return None
    return TextPool(tuple(texts), tuple(image_rows), torch.tensor(image_of_text, dtype=torch.int64))
