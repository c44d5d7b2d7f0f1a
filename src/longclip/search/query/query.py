"""Queries to a database of images, their filters and their answers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import FilterError, SearchError
from longclip.search.config import SearchConfig
from longclip.search.database.lance import quoted
from longclip.search.database.reader import Reader
from longclip.search.database.schema import Facts
from longclip.search.query import MAX_COUNT, MAX_TEXT_CHARACTERS


@dataclass(frozen=True)
class Query:
    """A question to a database of images.

    Attributes:
        text: what is to be seen; see MAX_TEXT_CHARACTERS.
        without: what is not.
        image: a picture that what is found should resemble.
        like: the id of a stored image, in place of `image`.
        where: an SQL condition, see `combined_filter`.
        count: images wanted.
        exact: compare with every image, even if there is an index.
        text_share: from 0 to 1, what the text counts for where there is an image, too.
        score_sentences: compare each sentence of the text with each hit.
    """

    text: str = ""
    without: tuple[str, ...] = ()
    image: Image.Image | None = field(default=None, repr=False)
    like: str | None = None
    where: str | None = None
    count: int = SearchConfig.count
    exact: bool = False
    text_share: float = SearchConfig.text_share
    score_sentences: bool = SearchConfig.score_sentences

    def check(self) -> None:
        """Raise SearchError where the query cannot be answered."""
        if self.image is not None and self.like is not None:
            raise SearchError("a query has a picture or a stored image (`like`); give one of them")
        seen = self.image is not None or self.like is not None
        if not (seen or self.text.strip() or any(text.strip() for text in self.without)):
            raise SearchError("there is nothing to search for: give a text, a picture, or both")
        characters = len(self.text) + sum(map(len, self.without))
        if characters > MAX_TEXT_CHARACTERS:
            raise SearchError(
                f"the texts of the query have {characters:,} characters together; shorten them to "
                f"{MAX_TEXT_CHARACTERS:,}"
            )
        if not 1 <= self.count <= MAX_COUNT:
            raise SearchError(f"count is {self.count}; ask for 1 to {MAX_COUNT:,} images")
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

    def to_json(self) -> dict[str, Any]:
        """Return everything but the embedding, in types that JSON has."""
        taken = self.facts.taken
        return {
            "id": self.facts.id,
            **asdict(self.facts),
            "taken": taken.isoformat() if taken else None,
            "similarity": self.similarity,
            "also": self.also,
            "sentences": self.sentences,
        }


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
        return {**vars(self), "hits": [hit.to_json() for hit in self.hits]}


def combined_filter(
    where: str | None = None,
    *,
    folder: str | None = None,
    after: str | None = None,
    before: str | None = None,
) -> str | None:
    """Return an SQL condition that asks for all of these; None where nothing is asked.

    Args:
        where: an SQL condition.
        folder: the image lies there or below; as in `Facts.folder`. Archives are folders, too.
        after: taken then or later: `2024`, `2024-05`, `2024-05-31` or with a time.
        before: taken earlier than that.

    Raises:
        FilterError: where a date cannot be read.
    """
    conditions = [f"({where})"] if where and where.strip() else []
    if folder and folder.strip():
        place = folder.strip().rstrip("/") or "/"
        # `starts_with` and not LIKE: names hold % and _. An archive is `x.tar::a` from within.
        below = "/" if place == "/" else f"{place}/"
        starts = " OR ".join(f"starts_with(folder, {quoted(x)})" for x in (below, f"{place}::"))
        conditions.append(f"(folder = {quoted(place)} OR {starts})")
    if after and after.strip():
        conditions.append(f"taken >= {_timestamp(after.strip())}")
    if before and before.strip():
        conditions.append(f"taken < {_timestamp(before.strip())}")
    return " AND ".join(conditions) or None


@contextmanager
def naming_as_written(store: Reader, where: str | None) -> Iterator[None]:
    """Blame `where` as the user wrote it where a combined condition cannot be read.

    Args:
        store: what is searched.
        where: as it was given to `combined_filter`.
    """
    try:
        yield
    except FilterError:
        if where and where.strip():
            store.count(where)  # raises, and names this alone
        raise


def _timestamp(date: str) -> str:
    whole = re.sub(r"^(\d{4})$", r"\1-01", date)
    whole = re.sub(r"^(\d{4}-\d\d)$", r"\1-01", whole)
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError as error:
        raise FilterError(
            f"{date!r} is no date; write 2024, 2024-05, 2024-05-31 or 2024-05-31T18:30"
        ) from error
    # Cameras write the time of the place, so an offset has nothing to be compared with.
    return f"timestamp {quoted(moment.replace(tzinfo=None).isoformat(' '))}"
