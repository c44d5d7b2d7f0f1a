"""Search: a query is read, embedded and answered with the nearest images."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from longclip.encoders.model_encoder import AnyModel, Vectors, as_encoder, unit
from longclip.errors import SearchError
from longclip.model.architectures import architecture
from longclip.search.database.reader import Reader
from longclip.search.database.vector_index import EXACT_BELOW
from longclip.search.query.distinct_images import distinct_images
from longclip.search.query.pieces import Pieces, combined_embedding, count_tokens, split_text
from longclip.search.query.query import Found, FoundImage, Query
from longclip.search.query.sentence_scores import (
    MAX_REFERENCE_IMAGES,
    MIN_REFERENCE_IMAGES,
    Reference,
)
from longclip.text.sentences import split_sentences

NEGATIVE_SHARE = 0.25
"""What a negative text takes away from the direction of a query.

On `scenes/val`, asked for a summary without the landmark of one picture, the summary is true of
68 in 100 of the best hits, and 13 show the landmark, if it is not mentioned; with 0.25 these are
58 and 1, with 0.5 they are 52 and 0 (nano fine-tuned on scenes; stretched alone much the same).
"""
NANO = (
    "The model is nano, or was made from it: nano has seen drawings and no photos. For photos, "
    "index with a CLIP that has."
)
"""A note on all that is found with a model which comes with the package to be tried out."""

_MIN_DIRECTION_LENGTH = 1e-4
"""Below this length the direction of a query, made of vectors of length one, is only rounding."""


@dataclass(frozen=True)
class Reading:
    """A query in the parts that a model embeds.

    Attributes:
        query: what was asked.
        text: the pieces of its text.
        without: the pieces of each of its negative texts that is not empty.
        sentences: the pieces of each sentence of its text; none unless they are to be scored.
    """

    query: Query
    text: Pieces
    without: tuple[Pieces, ...]
    sentences: tuple[Pieces, ...]

    @property
    def texts(self) -> list[str]:
        """Return all texts to embed, each once, none longer than the model's context."""
        return list(self._ids_of)

    @property
    def ids(self) -> list[tuple[int, ...]]:
        """Return the ids of each of `texts`, begin and end included."""
        return list(self._ids_of.values())

    @cached_property
    def _ids_of(self) -> dict[str, tuple[int, ...]]:
        every = (self.text, *self.without, *self.sentences)
        return {
            text: ids
            for pieces in every
            for text, ids in zip(pieces.texts, pieces.ids, strict=True)
        }


@dataclass(frozen=True)
class QueryVectors:
    """The embeddings of a `Reading`.

    Attributes:
        texts: float32 [len(reading.texts), D], of any length but zero.
        image: float32 [D], of the query's picture; None where it has none.
        seconds: time that embedding took.
    """

    texts: Vectors
    image: Vectors | None = None
    seconds: float = 0.0


class Searcher:
    """Answers queries to one database; may be used by several threads.

    A query is read (`read`), its parts are embedded, by this model or elsewhere, and it is answered
    (`answer`); `search` does all three.

    Args:
        store: the database.
        model: the one it was made with, see `check_same_model`; a `longclip.CLIP`, or what
            `longclip.load` gives with an `engine`.
    """

    def __init__(self, store: Reader, model: AnyModel) -> None:
        self.store = store
        self.encoder = as_encoder(model)
        self._reference: tuple[int, Reference] | None = None
        """Images that there were when it was drawn, and the sample."""
        # Stretched and trained, it still has the shape of nano's image tower; no known CLIP has.
        is_nano = self.encoder.config.vision == architecture("nano").vision
        self._model_notes = (NANO,) if is_nano else ()

    def search(self, query: Query) -> Found:
        """Return the images nearest to a query.

        Raises:
            SearchError: if there is nothing to search for, or no image with the id `like`.
            FilterError: if `query.where` cannot be read.
        """
        reading = self.read(query)
        return self.answer(reading, self.embed(reading))

    def read(self, query: Query) -> Reading:
        """Divide the texts of a query into pieces that the model reads.

        Raises:
            SearchError: if there is nothing to search for.
            FilterError: if its filter or a date cannot be read.
        """
        query.check()
        length, tokenizer = self.encoder.context_length, self.encoder.tokenizer
        sentences = split_sentences(query.text) if query.score_sentences else []
        without = (split_text(text, length, tokenizer) for text in query.without)
        return Reading(
            query=query,
            text=split_text(query.text, length, tokenizer),
            without=tuple(pieces for pieces in without if pieces.texts),
            sentences=tuple(split_text(sentence, length, tokenizer) for sentence in sentences),
        )

    def embed(self, reading: Reading) -> QueryVectors:
        """Embed a query with the searcher's own model."""
        began = time.perf_counter()
        texts = np.empty((0, self.store.about.width), np.float32)
        if reading.texts:
            texts = self.encoder.encode_text(reading.texts)
        image = None
        if reading.query.image is not None:
            [image] = self.encoder.encode_image([reading.query.image])
        return QueryVectors(texts, image, time.perf_counter() - began)

    def answer(self, reading: Reading, vectors: QueryVectors) -> Found:
        """Return the images nearest to a query that has been read and embedded.

        Args:
            reading: what is asked.
            vectors: its embeddings.

        Raises:
            SearchError: if there is no image with the id `like`, or what is asked cancels out.
        """
        began = time.perf_counter()
        query = reading.query
        where = query.condition()
        total = self.store.count(where)
        images = total if where is None else len(self.store)
        like = None
        if query.like is not None:
            like = next(iter(self.store.rows("id", [query.like])), None)
            if like is None:
                raise SearchError(
                    f"there is no image {query.like} in the database; was it deleted?"
                )
        texts = np.asarray(vectors.texts, np.float32)
        vector_of = dict(zip(reading.texts, texts, strict=True))
        picture = like.vector if like else vectors.image
        seen = unit(np.asarray(picture, np.float32)) if picture is not None else None
        direction = self._direction(reading, vector_of, seen)
        left_out = like.facts.sha256 if like else None
        # Where a filter leaves few images, the parts of the index looked into may hold none.
        index = None if query.exact or total < EXACT_BELOW else self.store.quality()
        hits, exact = distinct_images(
            self.store,
            direction,
            query.count,
            where=where,
            total=total,
            index=index,
            left_out=left_out,
        )
        searched = time.perf_counter()
        scored, notes = self._with_sentence_scores(hits, images, reading, vector_of)
        return Found(
            hits=tuple(scored),
            sentences=tuple(" ".join(pieces.texts) for pieces in reading.sentences),
            tokens=self._tokens(reading),
            context_length=self.encoder.context_length,
            pieces=len(reading.text.texts),
            exact=exact,
            total=total,
            empty=not images,
            notes=(*self._length_notes(reading), *notes, *self._model_notes),
            seconds={
                "embedding": vectors.seconds,
                "searching": searched - began,
                "explaining": time.perf_counter() - searched,
            },
        )

    def _tokens(self, reading: Reading) -> int:
        """Return the tokens of a query's text, begin and end included; 0 without one."""
        if len(reading.text.texts) > 1:
            return count_tokens(reading.query.text, self.encoder.tokenizer)
        return sum(map(len, reading.text.ids))

    def _direction(
        self, reading: Reading, vector_of: Mapping[str, Vectors], seen: Vectors | None
    ) -> Vectors:
        """Return what images are compared with, float32 [D]: linear in all that is asked.

        Args:
            reading: what is asked.
            vector_of: the embedding of each of its texts.
            seen: float32 [D], of length one, the picture that hits should resemble.
        """
        read = _embedding_of(reading.text, vector_of) if reading.text.texts else None
        if seen is not None and read is not None:
            share = reading.query.text_share
            wanted = share * read + (1 - share) * seen
        elif seen is not None:
            wanted = seen
        else:
            wanted = read if read is not None else np.zeros(self.store.about.width, np.float32)
        for pieces in reading.without:
            wanted = wanted - NEGATIVE_SHARE * _embedding_of(pieces, vector_of)
        if np.linalg.norm(wanted) < _MIN_DIRECTION_LENGTH:
            raise SearchError(
                "what is asked for and what is not cancel out; change the text or a negative one"
            )
        return unit(wanted)

    def _with_sentence_scores(
        self,
        hits: list[FoundImage],
        images: int,
        reading: Reading,
        vector_of: Mapping[str, Vectors],
    ) -> tuple[list[FoundImage], list[str]]:
        """Return the hits with the score of each sentence, and notes on them.

        Args:
            hits: what was found.
            images: that the database has.
            reading: what is asked.
            vector_of: the embedding of each of its texts.
        """
        if not hits or not reading.sentences:
            return hits, []
        reference = self._reference_of(images)
        sentences = np.stack([_embedding_of(pieces, vector_of) for pieces in reading.sentences])
        found = unit(np.stack([hit.vector for hit in hits]))
        scores = reference.standard_scores(sentences, found)
        scored = [
            replace(hit, sentences=tuple(row))
            for hit, row in zip(hits, scores.tolist(), strict=True)
        ]
        few = (
            f"There are only {reference.count} images to compare sentences with; which of them are "
            f"satisfied is uncertain below {MIN_REFERENCE_IMAGES}."
        )
        return scored, [few] if reference.count < MIN_REFERENCE_IMAGES else []

    def _reference_of(self, images: int) -> Reference:
        """Return what sentences are compared with.

        A sentence is near to a picture only in comparison with others (see `sentence_scores`). A
        sample is read from all over the table, so it is kept until the size changes by a tenth.
        """
        kept = self._reference
        if kept is None or abs(images - kept[0]) > 0.1 * kept[0]:
            sample = Reference(unit(self.store.sample(MAX_REFERENCE_IMAGES)))
            self._reference = kept = (images, sample)
        return kept[1]

    def _length_notes(self, reading: Reading) -> list[str]:
        """Return a note for each text of the query that the model does not read in one piece."""
        length, tokenizer = self.encoder.context_length, self.encoder.tokenizer
        named = [("The text", reading.query.text, reading.text)]
        wanted_not = [text for text in reading.query.without if text.strip()]
        named += [
            ("A negative text", text, pieces)
            for text, pieces in zip(wanted_not, reading.without, strict=True)
        ]
        return [
            f"{name} has {count_tokens(text, tokenizer)} tokens, and the model reads {length}: it "
            f"was read in {len(pieces.texts)} pieces, whose embeddings were averaged by their "
            "lengths."
            for name, text, pieces in named
            if len(pieces.texts) > 1
        ]


def _embedding_of(pieces: Pieces, vector_of: Mapping[str, Vectors]) -> Vectors:
    return combined_embedding(np.stack([vector_of[text] for text in pieces.texts]), pieces)
