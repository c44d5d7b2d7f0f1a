"""Collections of images with captions or labels."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from longclip.data.captions import Captions, TextPolicy
from longclip.errors import DataError, ImageError
from longclip.util.digest import Digest, spread

MAX_PICTURES_READ = 1000
"""Pictures of a collection whose content goes into its fingerprint, evenly spread over all."""

_MAX_NAMED_PICTURES = 10


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


ChoiceRule = Literal["first", "first two", "pairs"]
"""Which texts of a question fit which pictures: the first one the picture, and the others not; the
first two, and the third not; or each the picture in its place."""


@dataclass(frozen=True)
class Choice:
    """A question: `images` are numbers of pictures of the collection, `texts` the candidates."""

    images: tuple[int, ...]
    texts: tuple[str, ...]
    category: str


@dataclass(frozen=True)
class ChoiceSet:
    """Questions of one form.

    Where `least` is above 1 or categories are `left_out`, a mean over the categories is told: over
    those of at least so many questions that are not left out.
    """

    name: str
    rule: ChoiceRule
    choices: tuple[Choice, ...]
    least: int = 1
    left_out: frozenset[str] = frozenset()


class Collection(ABC):
    """Images with captions, labels, or both. Items are pure functions of their index.

    Attributes:
        name: as reports show it, for example `scenes/test`.
        rows: how many rows the images come from; 0 where each is one of its own.
        origins: where short and long texts come from, for people.
        missing: how many rows or samples have been left out.
        absent: items that have no picture, as was found without reading any.
        problems: one sentence for each thing that the files promised and do not hold; what it
            speaks of is left out of the collection.
    """

    name: str
    rows: int = 0
    origins: tuple[str, str] = ("captions", "descriptions")
    missing: int = 0
    absent: Sequence[int] = ()
    problems: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Return the decoded RGB picture.

        Raises:
            ImageError: if there is none, or it cannot be decoded.
        """

    def image_file(self, index: int) -> bytes | None:
        """Return the image file as it is, with all that a camera wrote into it.

        None where a collection draws its pictures or keeps them in another form.

        Raises:
            ImageError: if the file is not there or cannot be read.
        """
        return None

    def key(self, index: int) -> str:
        """Return a name for the content of a picture, found without decoding it.

        Equal keys mean equal pictures; what has been computed from one may be kept under it. It
        is the SHA-256 of the image file unless a collection without files has its own.

        Raises:
            ImageError: if there is no picture.
        """
        content = self.image_file(index)
        assert content is not None, "a collection without image files defines its own keys"
        return hashlib.sha256(content).hexdigest()

    def fingerprint(self) -> str:
        """Return the SHA-256 of what determines the pairs, wherever the data lies.

        All texts go into it, in order; of pictures an even choice (`MAX_PICTURES_READ`), as reading
        all of them would take as long as an epoch. Times and absolute paths do not.
        """
        digest, read = Digest(), set(spread(len(self), MAX_PICTURES_READ))
        for index in range(len(self)):
            captions = self.captions(index)
            digest.add("short", *captions.short, "long", *captions.long)
            if index in read:
                try:
                    digest.add("picture", self.key(index))
                except ImageError:
                    digest.add("no picture")
        return digest.hexdigest()

    def picture_hashes(self) -> Sequence[int]:
        """Return a hash of each picture, by which those of several collections are compared.

        It holds in this process alone. Empty where it could not be had without reading much.
        """
        return ()

    def captions(self, index: int) -> Captions:
        """Return the texts of one image; none where the images are only labelled."""
        return Captions()

    def contradictions(self, index: int) -> tuple[str, ...]:
        """Return the long texts of an image, each with one detail made false, as late as can be.

        They are in the order of `captions(index).long`. Empty where nobody has written down what
        would be false.
        """
        return ()

    def require_texts(self) -> None:  # noqa: B027 - most know nothing without reading all
        """Raise where no image has a text, as far as is known without reading all.

        Raises:
            DataError: says where texts were looked for, and what to do.
        """

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the classification tasks that these images come with, if any."""
        return ()

    def choice_sets(self) -> Sequence[ChoiceSet]:
        """Return the sets of questions that these images come with, if any."""
        return ()

    def blocks(self) -> Sequence[range]:
        """Return the items that are cheap to read only together, such as those of a shard.

        Blocks follow one another and make up the collection; empty where any order is as good.
        """
        return ()

    def policy_of(self, index: int, policy: TextPolicy) -> TextPolicy:
        """Return what becomes of the texts of one item in a run with this policy."""
        return policy


def refuse_absent(
    collection: Collection, max_bad_fraction: float, *, items: int | None = None
) -> None:
    """Raise where too many pictures are not there, which is known before any is read.

    Args:
        collection: of the pictures.
        max_bad_fraction: the largest share of them that may be absent.
        items: how many of the first ones are to be used; all where None.

    Raises:
        DataError: names the first ones, and the option to say where they lie.
    """
    items = len(collection) if items is None else items
    absent = [index for index in collection.absent if index < items]
    if len(absent) <= max_bad_fraction * items:
        return
    reasons = []
    for index in absent[:_MAX_NAMED_PICTURES]:
        try:
            collection.image(index)
        except ImageError as error:
            reasons.append(str(error))
    more = "\n  …" if len(absent) > _MAX_NAMED_PICTURES else ""
    raise DataError(
        f"{len(absent):,} of {items:,} pictures are not there, more than --max-bad-fraction "
        f"{max_bad_fraction:g}; name the folder that they lie in with --images FOLDER\n  "
        + "\n  ".join(reasons)
        + more
    )
