"""Protocols of collections of captioned or labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL import Image


@dataclass(frozen=True)
class Captions:
    """The texts of one image.

    `short` holds sentences, `long` whole descriptions. Either may be empty: where `long` is, the
    short captions joined are the long text; where `short` is, the first sentence of the long one
    is the short text (see `longclip.data.captions`).
    """

    short: tuple[str, ...] = ()
    long: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """One zero-shot task: `targets[i]` is the index into `classes` of image i.

    `templates` are the prompts this task is asked with, each with one `{}` for the class; empty
    for CLIP's 80 ImageNet prompts.
    """

    name: str
    classes: tuple[str, ...]
    targets: tuple[int, ...]
    templates: tuple[str, ...] = ()


class Collection(Protocol):
    """Images with captions, labels, or both. Items are pure functions of their index."""

    @property
    def name(self) -> str:
        """Name in reports, for example `scenes/test`."""
        ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Return the decoded RGB picture; raise `longclip.errors.ImageError` if there is none."""
        ...

    def key(self, index: int) -> str:
        """A name for the content of a picture, found without decoding it.

        Equal keys mean equal pictures; what has been computed from one may be kept under it.
        Raises `longclip.text.ImageError` where there is no picture.
        """
        ...

    def captions(self, index: int) -> Captions: ...

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the classification tasks that these images come with, if any."""
        ...


@runtime_checkable
class Blocked(Protocol):
    """A collection whose items are cheap to read only together with their neighbours."""

    def blocks(self) -> Sequence[range]:
        """Items that should be read together, such as those of a shard.

        Blocks follow one another and make up the collection; empty where any order is as good.
        """
        ...


@runtime_checkable
class Troubled(Protocol):
    """A collection that says what its files promised and did not hold."""

    problems: tuple[str, ...]
    """One sentence each; what they speak of is left out of the collection."""


@runtime_checkable
class Encoded(Protocol):
    """A collection whose pictures are image files."""

    def image_file(self, index: int) -> bytes | None:
        """Return the file as it is, with all that a camera wrote into it; None where there is none.

        Raises `longclip.text.ImageError` where it is not there or cannot be read.
        """
        ...


def blocks_of(collection: Collection) -> Sequence[range]:
    """Items that should be read together; empty where any order is as good."""
    return collection.blocks() if isinstance(collection, Blocked) else ()


def problems_of(collection: Collection) -> tuple[str, ...]:
    """Return what was left out of a collection when it was opened."""
    return collection.problems if isinstance(collection, Troubled) else ()


def image_file_of(collection: Collection, index: int) -> bytes | None:
    """Return the image file of a picture; None where a collection draws its own."""
    return collection.image_file(index) if isinstance(collection, Encoded) else None
