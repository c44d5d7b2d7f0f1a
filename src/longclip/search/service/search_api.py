"""`POST /v1/search` and `/v1/browse`, and the routes that the page asks besides."""

import time
from datetime import datetime
from typing import Annotated, Self

import numpy as np
from fastapi import APIRouter, Response
from PIL import Image
from pydantic import BaseModel, Field

from longclip import __version__
from longclip.search.database.schema import ID_PATTERN, Facts
from longclip.search.query import DEFAULT_COUNT, MAX_TEXT_CHARACTERS
from longclip.search.query.filter import HELP
from longclip.search.query.pieces import count_tokens
from longclip.search.query.query import Found, Query
from longclip.search.query.searcher import QueryVectors, Reading
from longclip.search.service.embedder import Input
from longclip.search.service.images import pixels_of
from longclip.search.service.request_limits import RequestModel
from longclip.search.service.service import Service
from longclip.spec import STOCK_CONTEXT
from longclip.text.spans import word_spans
from longclip.text.tokenizer import TextTokenizer, clip_tokenizer

_MAX_DATE_CHARACTERS = 100

# `fail_fast`: of a long list of what it may not have, only the first is an error, as each would
# cost a kilobyte of the answer.
_Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]
_Date = Annotated[str, Field(max_length=_MAX_DATE_CHARACTERS)]
_Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class BrowseRequest(RequestModel, extra="forbid"):
    """Filters, and how many images are wanted."""

    where: Annotated[_Text | None, Field(description=HELP)] = None
    folder: _Text | None = None
    after: Annotated[_Date | None, Field(description="2024, 2024-05, 2024-05-31 …")] = None
    before: _Date | None = None
    k: Annotated[int, Field(ge=1, le=200, strict=True)] = DEFAULT_COUNT
    offset: Annotated[int, Field(ge=0, le=2000, strict=True)] = 0


class SearchRequest(BrowseRequest):
    """A query: a text, an image, an image of the database, or several of these."""

    text: _Text = ""
    without: Annotated[tuple[_Text, ...], Field(alias="not", max_length=32, fail_fast=True)] = ()
    image: Annotated[str | None, Field(description="A data URL, base64.")] = None
    like: _Id | None = None
    text_share: Annotated[
        float,
        Field(ge=0, le=1, strict=True, description="What the text counts for beside an image."),
    ] = Query.text_share
    why: Annotated[bool, Field(strict=True)] = True


class ImageAnswer(BaseModel):
    """An image of the database; what its facts mean is said in `longclip.search.Facts`."""

    id: str
    uri: str
    name: str
    folder: str
    width: int
    height: int
    bytes: int
    format: str
    taken: datetime | None
    latitude: float | None
    longitude: float | None
    camera: str | None
    caption: str | None
    thumbnail: str

    @classmethod
    def of(cls, facts: Facts, **more: object) -> Self:
        """Return what is said of an image; facts that the answer does not name are left out."""
        values = {**vars(facts), "id": facts.id, "thumbnail": f"/thumb/{facts.id}", **more}
        return cls.model_validate(values)


class HitAnswer(ImageAnswer):
    """An image that was found."""

    similarity: float
    also: list[str]
    sentences: list[float]


class BrowseAnswer(BaseModel):
    """Images, newest first, and how many satisfy the filters."""

    hits: list[ImageAnswer]
    total: int
    took_ms: float


class SearchAnswer(BaseModel):
    """Images, best first, and how they were found."""

    hits: list[HitAnswer]
    sentences: list[str]
    tokens: int
    context_length: int
    pieces: int
    exact: bool
    total: int
    notes: list[str]
    took_ms: float


class AboutAnswer(BaseModel):
    """The database and the model that are served."""

    model: str
    images: int
    context_length: int
    own_tokenizer: Annotated[
        bool, Field(description="Whether tokens are the model's own, and none of CLIP's.")
    ]
    version: str
    example_folders: list[str]


class TokensRequest(RequestModel, extra="forbid"):
    """A text to be counted."""

    text: _Text


class TokensAnswer(BaseModel):
    """Tokens, begin and end included, and the index of the first word that is not read."""

    count: int
    context_length: int
    cut_77: int | None
    cut: int | None


def search_router(service: Service) -> APIRouter:
    """Return the routes of search."""
    router = APIRouter(prefix="/v1")
    model = service.searcher.encoder
    context_length = model.context_length

    @router.get("/about", summary="What is served")
    def about() -> AboutAnswer:
        return AboutAnswer(
            model=service.model_name,
            images=len(service.store),
            context_length=context_length,
            own_tokenizer=model.tokenizer is not clip_tokenizer(),
            version=__version__,
            example_folders=service.example_folders(),
        )

    @router.post("/tokens", summary="Count the tokens of a text")
    def tokens(request: TokensRequest) -> TokensAnswer:
        return token_cuts(request.text, context_length, model.tokenizer)

    @router.post("/search", summary="Find images", response_model=SearchAnswer)
    async def search(request: SearchRequest) -> Response:
        service.check_ready()
        with service.admission.place() as check_time:
            began = time.perf_counter()
            reading, items = await service.decoding(_read, service, request)
            check_time()
            rows = await service.embed_cached(items) if items else np.empty((0, 0), np.float32)
            count, has_image = len(reading.texts), reading.query.image is not None
            vectors = QueryVectors(rows[:count], rows[count] if has_image else None)
            # Written by that thread, as the event loop is everybody's.
            content = await service.answering(
                _answered, service, reading, vectors, request.offset, began
            )
            return Response(content, media_type="application/json")

    @router.post("/browse", summary="List images, newest first")
    async def browse(request: BrowseRequest) -> BrowseAnswer:
        service.check_ready()
        with service.admission.place():
            return await service.answering(_browse, service, request)

    return router


def _browse(service: Service, request: BrowseRequest) -> BrowseAnswer:
    began = time.perf_counter()
    where = Query(
        where=request.where, folder=request.folder, after=request.after, before=request.before
    ).condition()
    total = service.store.count(where)
    newest = service.store.newest(request.k, request.offset, where)
    return BrowseAnswer(
        hits=[ImageAnswer.of(facts) for facts in newest],
        total=total,
        took_ms=1000 * (time.perf_counter() - began),
    )


def _read(service: Service, request: SearchRequest) -> tuple[Reading, list[Input]]:
    """Return what is asked, and what the model has to embed: the texts, then the image."""
    pixels = pixels_of(service, request.image, "image") if request.image else None
    query = Query(
        text=request.text,
        without=request.without,
        image=None if pixels is None else Image.fromarray(pixels),
        like=request.like,
        where=request.where,
        folder=request.folder,
        after=request.after,
        before=request.before,
        count=request.offset + request.k,
        text_share=request.text_share,
        score_sentences=request.why,
    )
    with service.tokenizing:
        reading = service.searcher.read(query)
    items: list[Input] = [*reading.ids]
    if pixels is not None:
        items.append(pixels)
    return reading, items


def _answered(
    service: Service, reading: Reading, vectors: QueryVectors, offset: int, began: float
) -> str:
    """Search, and return the answer as JSON."""
    found = service.searcher.answer(reading, vectors)
    return _answer(found, offset, 1000 * (time.perf_counter() - began)).model_dump_json()


def _answer(found: Found, offset: int, took_ms: float) -> SearchAnswer:
    hits = [
        HitAnswer.of(
            hit.facts,
            similarity=hit.similarity,
            also=list(hit.also),
            sentences=list(hit.sentences),
        )
        for hit in found.hits[offset:]
    ]
    return SearchAnswer(
        hits=hits,
        sentences=list(found.sentences),
        tokens=found.tokens,
        context_length=found.context_length,
        pieces=found.pieces,
        exact=found.exact,
        total=found.total,
        notes=list(found.notes),
        took_ms=took_ms,
    )


def token_cuts(
    text: str, context_length: int, tokenizer: TextTokenizer | None = None
) -> TokensAnswer:
    """Count the tokens of a text, and find where CLIP's 77 and this model's context end in it.

    With a tokenizer that is not CLIP's, 77 of its tokens are nothing to be compared with.
    """
    tokenizer = tokenizer or clip_tokenizer()
    count = count_tokens(text, tokenizer)

    def cut_of(limit: int) -> int | None:
        return cut_at(text, limit, tokenizer) if count > limit else None

    cut_77 = cut_of(STOCK_CONTEXT) if tokenizer is clip_tokenizer() else None
    cut = cut_of(context_length)
    return TokensAnswer(count=count, context_length=context_length, cut_77=cut_77, cut=cut)


def cut_at(text: str, context_length: int, tokenizer: TextTokenizer | None = None) -> int:
    """Return the index of the first word that a model of that context does not read to its end."""
    tokenizer = tokenizer or clip_tokenizer()
    return word_spans(text, tokenizer).unread_start(context_length - tokenizer.special_tokens)
