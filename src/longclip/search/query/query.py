"""Queries to a database of images, their filters and their answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import SearchError
from longclip.search.config import SearchConfig
from longclip.search.database.lance import quoted
from longclip.search.database.schema import Facts
from longclip.search.query import DEFAULT_TEXT_SHARE, MAX_COUNT, MAX_TEXT_CHARACTERS
from longclip.search.query.filter import check_encodable, compile_filter, read_date, timestamp
from longclip.util.unicode import unicode_forms


@dataclass(frozen=True)
class Query:
    """A question to a database of images.

    Attributes:
        text: what is to be seen; see MAX_TEXT_CHARACTERS.
        without: what is not.
        image: a picture that what is found should resemble.
        like: the id of a stored image, in place of `image`.
        where: a filter, see `filter`: `width > 1000 AND camera LIKE 'Nikon%'`.
        folder: the image lies there or below; as in `Facts.folder`. Archives are folders, too.
        after: taken then or later: `2024`, `2024-05`, `2024-05-31` or with a time.
        before: taken earlier than that.
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
    folder: str | None = None
    after: str | None = None
    before: str | None = None
    count: int = SearchConfig.count
    exact: bool = False
    text_share: float = DEFAULT_TEXT_SHARE
    score_sentences: bool = SearchConfig.score_sentences

    def check(self) -> None:
        """Raise SearchError where the query cannot be answered."""
        if self.image is not None and self.like is not None:
            raise SearchError("a query has a picture or a stored image (`like`); give one of them")
        given: object = self.without
        if isinstance(given, str):  # its letters would be taken for texts
            raise SearchError(f"`without` is a text; give a list of texts: [{given!r:.100}]")
        check_encodable(self.like or "", "the id `like`")
        seen = self.image is not None or self.like is not None
        if not (seen or self.text.strip() or any(text.strip() for text in self.without)):
            raise SearchError("there is nothing to search for: give a text, a picture, or both")
        characters = len(self.text) + sum(map(len, self.without))
        if characters > MAX_TEXT_CHARACTERS:
            raise SearchError(
                f"the texts of the query have {characters:,} characters together; shorten them to "
                f"{MAX_TEXT_CHARACTERS:,}"
            )
        if not (isinstance(self.count, int) and 1 <= self.count <= MAX_COUNT):
            raise SearchError(f"count is {self.count}; ask for 1 to {MAX_COUNT:,} images")
        if not 0 <= self.text_share <= 1:
            raise SearchError(f"--text-share is {self.text_share}; it goes from 0 to 1")
        self.condition()

    def condition(self) -> str | None:
        """Return what `where`, `folder`, `after` and `before` ask for together, for the database.

        Raises:
            FilterError: where the filter or a date cannot be read; nothing of it is SQL's to read.
        """
        conditions = [compile_filter(self.where)] if self.where and self.where.strip() else []
        if self.folder and self.folder.strip():
            check_encodable(self.folder, "the folder")
            place = self.folder.strip().rstrip("/") or "/"
            # `starts_with` and not LIKE: names hold % and _. An archive is `x.tar::a` from within.
            tests = []
            for form in unicode_forms(place):
                below = "/" if form == "/" else f"{form}/"
                tests.append(f"folder = {quoted(form)}")
                tests += (f"starts_with(folder, {quoted(x)})" for x in (below, f"{form}::"))
            conditions.append(f"({' OR '.join(tests)})")
        for sign, date in ((">=", self.after), ("<", self.before)):
            if date and date.strip():
                conditions.append(f"taken {sign} {timestamp(read_date(date.strip()))}")
        return " AND ".join(conditions) or None


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
        empty: whether the database has no image at all.
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
    empty: bool
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return everything in types that JSON has."""
        return {**vars(self), "hits": [hit.to_json() for hit in self.hits]}
