"""`POST /v1/search`, and the routes that the page asks besides."""

import time

import numpy as np
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from longclip import __version__
from longclip.search.query.filters import combined_filter, naming_as_written
from longclip.search.query.query import Found, FoundImage, Query
from longclip.search.query.searcher import QueryVectors, Reading
from longclip.search.service.embedder import Input
from longclip.search.service.images import decode_data_url
from longclip.search.service.schemas import (
    AboutAnswer,
    HitAnswer,
    SearchAnswer,
    SearchRequest,
    TokensAnswer,
    TokensRequest,
)
from longclip.search.service.service import Service
from longclip.search.service.tokens import token_cuts


def search_router(service: Service) -> APIRouter:
    """Return the routes of search."""
    router = APIRouter(prefix="/v1")

    @router.get("/about", summary="What is served")
    def about() -> AboutAnswer:
        return AboutAnswer(
            model=service.model_name,
            images=len(service.store),
            context_length=service.searcher.model.context_length,
            version=__version__,
            example_folders=service.example_folders(),
        )

    @router.post("/tokens", summary="Count the tokens of a text")
    def tokens(request: TokensRequest) -> TokensAnswer:
        context_length = service.searcher.model.context_length
        counted = token_cuts(request.text, context_length)
        return TokensAnswer(
            count=counted.count,
            context_length=context_length,
            cut_77=counted.cut_77,
            cut=counted.cut,
        )

    @router.post("/search", summary="Find images")
    async def search(request: SearchRequest) -> SearchAnswer:
        service.check_ready()
        with service.admission.place():
            return await _search(service, request)

    return router


async def _search(service: Service, request: SearchRequest) -> SearchAnswer:
    began = time.perf_counter()
    reading, items = await service.decoding(_read, service, request)
    rows = await service.embed_cached(items) if items else np.empty((0, 0), np.float32)
    count = len(reading.texts)
    vectors = QueryVectors(rows[:count], rows[count] if reading.query.image is not None else None)

    def answer() -> Found:
        with naming_as_written(service.store, request.where):
            return service.searcher.answer(reading, vectors)

    found = await run_in_threadpool(answer)
    return _answer(found, request.offset, 1000 * (time.perf_counter() - began))


def _read(service: Service, request: SearchRequest) -> tuple[Reading, list[Input]]:
    """Return what is asked, and what the model has to embed: the texts, then the image."""
    reading = service.searcher.read(_query(request))
    items: list[Input] = [service.embedder.tokens(text) for text in reading.texts]
    if reading.query.image is not None:
        items.append(service.embedder.pixels(reading.query.image))
    return reading, items


def _query(request: SearchRequest) -> Query:
    return Query(
        text=request.text,
        without=tuple(request.without),
        image=decode_data_url(request.image, "image") if request.image else None,
        like=request.like,
        where=combined_filter(
            request.where, folder=request.folder, after=request.after, before=request.before
        ),
        count=request.offset + request.k,
        text_share=request.text_share,
        why=request.why,
    )


def _answer(found: Found, offset: int, took_ms: float) -> SearchAnswer:
    return SearchAnswer(
        hits=[_hit(hit) for hit in found.hits[offset:]],
        sentences=list(found.sentences),
        tokens=found.tokens,
        context_length=found.context_length,
        pieces=found.pieces,
        exact=found.exact,
        total=found.total,
        notes=list(found.notes),
        took_ms=took_ms,
    )


def _hit(hit: FoundImage) -> HitAnswer:
    # Facts that the answer does not name are left out.
    return HitAnswer(
        **vars(hit.facts),
        id=hit.facts.id,
        similarity=hit.similarity,
        also=list(hit.also),
        sentences=list(hit.sentences),
        thumbnail=f"/thumb/{hit.facts.id}",
    )
