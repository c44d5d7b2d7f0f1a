"""Queries to a database of images, and their answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import SearchError
from longclip.search.config import SearchConfig
from longclip.search.database.schema import Facts


@dataclass(frozen=True)
class Query:
    """A question to a database of images.

    Attributes:
        text: what is to be seen, of any length.
        without: what is not.
        image: a picture that what is found should resemble.
        like: the id of a stored image, in place of `image`.
        where: an SQL condition, see `combined_filter`.
        count: images wanted.
        exact: compare with every image, even if there is an index.
        text_share: from 0 to 1, what the text counts for where there is an image, too.
        why: score each sentence of the text with each hit.
    """

    text: str = ""
    without: tuple[str, ...] = ()
    image: Image.Image | None = field(default=None, repr=False)
    like: str | None = None
    where: str | None = None
    count: int = SearchConfig.count
    exact: bool = False
    text_share: float = SearchConfig.text_share
    why: bool = True

    def check(self) -> None:
        """Raise SearchError where the query cannot be answered."""
        if self.image is not None and self.like is not None:
            raise SearchError("a query has a picture or a stored image (`like`); give one of them")
        seen = self.image is not None or self.like is not None
        if not (seen or self.text.strip() or any(text.strip() for text in self.without)):
            raise SearchError("there is nothing to search for: give a text, a picture, or both")
        if self.count < 1:
            raise SearchError(f"count is {self.count}; ask for one image at least")
        if not 0 <= self.text_share <= 1:
            raise SearchError(f"text_share is {self.text_share}; it goes from 0 to 1")


@dataclass(frozen=True)
class FoundImage:
    """An image that was found.

    Attributes:
        facts: what is known of it.
        similarity: its cosine with the query.
        also: where the same file lies as well, by `uri`.
        sentences: for each of `Found.sentences` how much nearer it is to this image than to most,
            in standard deviations; see `sentence_scores`. Empty where not asked for.
        vector: float32 [D], its embedding.
    """

    facts: Facts
    similarity: float
    also: tuple[str, ...] = ()
    sentences: tuple[float, ...] = ()
    vector: NDArray[np.float32] = field(
        default_factory=lambda: np.empty(0, np.float32), repr=False, compare=False
    )


@dataclass(frozen=True)
class Found:
    """The answer to a query.

    Attributes:
        hits: the most similar images, best first.
        sentences: of the query's text.
        tokens: of the query's text, begin and end included; 0 without one.
        context_length: what the model reads at once.
        pieces: in how many the text was read.
        exact: whether every image was compared.
        total: images that satisfy the filter.
        notes: what one should know of how this was found, in whole sentences.
        seconds: what it took: `embedding`, `searching`, `explaining`.
    """

    hits: tuple[FoundImage, ...]
    sentences: tuple[str, ...]
    tokens: int
    context_length: int
    pieces: int
    exact: bool
    total: int
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return everything in types that JSON has."""
        return {**vars(self), "hits": [_hit_json(hit) for hit in self.hits]}


def _hit_json(hit: FoundImage) -> dict[str, Any]:
    taken = hit.facts.taken
    return {
        "id": hit.facts.id,
        **asdict(hit.facts),
        "taken": taken.isoformat() if taken else None,
        "similarity": hit.similarity,
        "also": hit.also,
        "sentences": hit.sentences,
    }
