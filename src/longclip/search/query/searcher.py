"""From a query to the images that answer it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from longclip.errors import CheckpointError, SearchError
from longclip.inputs import split_sentences
from longclip.model import CLIP, load
from longclip.search.database.provenance import about, check_same_model
from longclip.search.database.reader import Hit, Reader
from longclip.search.database.schema import Row
from longclip.search.database.vector_index import EXACT_BELOW, IndexQuality, read_quality
from longclip.search.query.pieces import Pieces, combined, count_tokens, split_text, unit
from longclip.search.query.query import Found, FoundImage, Query
from longclip.search.query.sentence_scores import FEWEST, SAMPLE, standard_scores

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
EmbedImage = Callable[[Image.Image], Vectors]

NEGATIVE_SHARE = 0.25
"""What a negative text takes away from the direction of a query.

On `scenes/val`, asked for a summary without the landmark of one picture, the summary is true of
68 in 100 of the best hits, and 13 show the landmark, if it is not mentioned; with 0.25 these are
58 and 1, with 0.5 they are 52 and 0 (nano fine-tuned on scenes; stretched alone much the same).
"""
_NOTHING = 1e-4
"""Length of the direction of a query, of vectors of length one, that is only rounding."""


@dataclass(frozen=True)
class _Reading:
    """The texts of a query, as they are embedded."""

    text: Pieces
    without: tuple[Pieces, ...]
    sentences: tuple[Pieces, ...]

    @property
    def texts(self) -> list[str]:
        """Each once."""
        every = (self.text, *self.without, *self.sentences)
        return list(dict.fromkeys(text for pieces in every for text in pieces.texts))


class Searcher:
    """Answers queries to one database; may be used by several threads.

    Args:
        store: the database.
        model: the one it was made with; see `check_same_model`.
    """

    def __init__(self, store: Reader, model: CLIP) -> None:
        self.store = store
        self.model = model
        self._crowd = np.empty((0, store.about.width), np.float32)
        self._crowd_of = -1

    def texts(self, query: Query) -> list[str]:
        """Every text that `search` will want embedded, each once, none longer than the context."""
        return self._reading(query).texts

    def search(
        self, query: Query, embed: Embed | None = None, embed_image: EmbedImage | None = None
    ) -> Found:
        """The images nearest to a query.

        Args:
            query: what is asked.
            embed: texts to float32 [N, D], of any length but zero; `model.encode_text` by default.
            embed_image: a picture to float32 [D]; `model.encode_image` by default.

        Raises:
            SearchError: if there is nothing to search for, or no image with the id `like`.
            FilterError: if `query.where` cannot be read.
        """
        query.check()
        began = time.perf_counter()
        total = self.store.count(query.where)
        reading = self._reading(query)
        vectors = self._embedded(reading.texts, embed or self._encode)
        like = self._stored(query.like)
        seen = self._seen(query, like, embed_image or self._encode_image)
        direction = self._direction(query, reading, vectors, seen)
        embedded = time.perf_counter()
        left_out = like.facts.sha256 if like else None
        # Where a filter leaves few images, the parts of the index looked into may hold none.
        index = None if query.exact or total < EXACT_BELOW else read_quality(self.store)
        groups, exact = distinct(
            self.store, direction, query, total=total, index=index, left_out=left_out
        )
        searched = time.perf_counter()
        hits, notes = self._explained(groups, reading, vectors)
        return Found(
            hits=tuple(hits),
            sentences=tuple(" ".join(pieces.texts) for pieces in reading.sentences),
            tokens=count_tokens(query.text) if reading.text.texts else 0,
            context_length=self.model.context_length,
            pieces=len(reading.text.texts),
            exact=exact,
            total=total,
            notes=(*self._length_notes(query, reading), *notes),
            seconds={
                "embedding": embedded - began,
                "searching": searched - embedded,
                "explaining": time.perf_counter() - searched,
            },
        )

    def _reading(self, query: Query) -> _Reading:
        length = self.model.context_length
        sentences = split_sentences(query.text) if query.why else []
        without = (split_text(text, length) for text in query.without)
        return _Reading(
            text=split_text(query.text, length),
            without=tuple(pieces for pieces in without if pieces.texts),
            sentences=tuple(split_text(sentence, length) for sentence in sentences),
        )

    def _embedded(self, texts: list[str], embed: Embed) -> dict[str, Vectors]:
        if not texts:
            return {}
        return dict(zip(texts, np.asarray(embed(texts), np.float32), strict=True))

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return self.model.encode_text(list(texts)).cpu().numpy()

    def _encode_image(self, image: Image.Image) -> Vectors:
        return self.model.encode_image(image)[0].cpu().numpy()

    def _stored(self, id: str | None) -> Row | None:
        if id is None:
            return None
        for row in self.store.rows("id", [id]):
            return row
        raise SearchError(f"there is no image {id} in the database; was it deleted?")

    def _seen(self, query: Query, like: Row | None, embed_image: EmbedImage) -> Vectors | None:
        if query.image is not None:
            return unit(np.asarray(embed_image(query.image), np.float32))
        return unit(like.vector) if like else None

    def _direction(
        self,
        query: Query,
        reading: _Reading,
        vectors: dict[str, Vectors],
        seen: Vectors | None,
    ) -> Vectors:
        """What images are compared with, float32 [D]: linear in all that is asked."""
        read = _of(reading.text, vectors) if reading.text.texts else None
        if seen is not None and read is not None:
            wanted = query.text_share * read + (1 - query.text_share) * seen
        elif seen is not None:
            wanted = seen
        else:
            wanted = read if read is not None else np.zeros(self.store.about.width, np.float32)
        for pieces in reading.without:
            wanted = wanted - NEGATIVE_SHARE * _of(pieces, vectors)
        if np.linalg.norm(wanted) < _NOTHING:
            raise SearchError(
                "what is asked for and what is not cancel out; change the text or a negative one"
            )
        return unit(wanted)

    def _explained(
        self, hits: list[FoundImage], reading: _Reading, vectors: dict[str, Vectors]
    ) -> tuple[list[FoundImage], list[str]]:
        if not hits or not reading.sentences:
            return hits, []
        images = np.stack([hit.vector for hit in hits])
        sentences = np.stack([_of(pieces, vectors) for pieces in reading.sentences])
        crowd = self._sample()
        scores = standard_scores(sentences, unit(images), unit(crowd))
        explained = [
            replace(hit, sentences=tuple(row.tolist()))
            for hit, row in zip(hits, scores, strict=True)
        ]
        few = (
            f"There are only {len(crowd)} images to compare sentences with; which of them are "
            f"satisfied is uncertain below {FEWEST}."
        )
        return explained, [few] if len(crowd) < FEWEST else []

    def _sample(self) -> Vectors:
        """Some images of the database, drawn again when it has grown or shrunk by a tenth."""
        count = len(self.store)
        if abs(count - self._crowd_of) > 0.1 * self._crowd_of or self._crowd_of < 0:
            self._crowd, self._crowd_of = self.store.sample(SAMPLE), count
        return self._crowd

    def _length_notes(self, query: Query, reading: _Reading) -> list[str]:
        length = self.model.context_length
        named = [("The text", query.text, reading.text)]
        wanted_not = [text for text in query.without if text.strip()]
        named += [
            ("A negative text", text, pieces)
            for text, pieces in zip(wanted_not, reading.without, strict=True)
        ]
        return [
            f"{name} has {count_tokens(text)} tokens, and the model reads {length}: it was read in "
            f"{len(pieces.texts)} pieces, whose embeddings were averaged by their lengths."
            for name, text, pieces in named
            if len(pieces.texts) > 1
        ]


def open_searcher(
    place: str,
    model: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Searcher:
    """A database together with the model that it was made with.

    Args:
        place: a directory or a URL, see `Reader.open`.
        model: where that model is; what the database calls it by default.
        dtype: of the weights.
        device: where they go.

    Raises:
        SearchError: if there is no database, or `model` is another one.
        CheckpointError: if the model cannot be opened.
    """
    store = Reader.open(place)
    name = model or store.about.model
    try:
        loaded = load(name, dtype=dtype, device=device)
    except CheckpointError as error:
        if model:
            raise
        raise SearchError(
            f"{place} was indexed with {name}, which cannot be opened here: {error}. "
            "Say with --model where it is"
        ) from error
    check_same_model(store.about, about(loaded, name), place)
    return Searcher(store, loaded)


def _of(pieces: Pieces, vectors: dict[str, Vectors]) -> Vectors:
    return combined(np.stack([vectors[text] for text in pieces.texts]), pieces)


_SPARE = 16
"""Rows asked for beyond those wanted: collections have a few copies, seldom many."""

_MOST = 20_000
"""Rows looked at, in a database of very many copies of one file."""


def distinct(
    store: Reader,
    direction: NDArray[np.float32],
    query: Query,
    *,
    total: int,
    index: IndexQuality | None = None,
    left_out: str | None = None,
) -> tuple[list[FoundImage], bool]:
    """At most `query.count` images, best first, equally similar ones by `uri`.

    Args:
        store: where to look.
        direction: float32 [D].
        query: its filter and count are used.
        total: rows that satisfy the filter.
        index: how the search index is to be used; without, every row is compared.
        left_out: the `sha256` of a file that is not wanted.

    Returns:
        The images, and whether every row was compared: it is, too, where the partitions that an
        index looks into hold fewer rows than are asked for.

    Raises:
        FilterError: as `Reader.nearest`.
    """
    asked = query.count + _SPARE
    while True:
        hits = _nearest(store, direction, asked, query.where, index)
        if index and len(hits) < min(asked, total):
            index = None
            continue
        groups = _groups(hits, left_out)
        # Copies are equally similar: those of an image above the last row have all been seen.
        complete = sum(group.similarity > hits[-1].similarity for group in groups)
        if complete >= query.count or len(hits) < asked or asked >= _MOST:
            return groups[: query.count], index is None
        asked = min(4 * asked, _MOST)


def _nearest(
    store: Reader,
    direction: NDArray[np.float32],
    count: int,
    where: str | None,
    index: IndexQuality | None,
) -> list[Hit]:
    if index is None:
        return store.nearest(direction, count, where=where, exact=True)
    return store.nearest(direction, count, where=where, probes=index.probes, refine=index.refine)


def _groups(hits: list[Hit], left_out: str | None) -> list[FoundImage]:
    ordered = sorted(hits, key=lambda hit: (-hit.similarity, hit.facts.uri))
    copies: dict[str, list[Hit]] = {}
    for hit in ordered:
        if hit.facts.sha256 != left_out:
            copies.setdefault(hit.facts.sha256, []).append(hit)
    return [
        FoundImage(
            best.facts,
            best.similarity,
            tuple(other.facts.uri for other in others),
            vector=best.vector,
        )
        for best, *others in copies.values()
    ]
