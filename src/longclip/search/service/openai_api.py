"""`POST /v1/embeddings` and `GET /v1/models`, as OpenAI's API has them."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from longclip.search.service.embedder import Embedder, Input, Tokens
from longclip.search.service.images import decode_data_url, is_data_url
from longclip.search.service.request_errors import RequestError
from longclip.search.service.schemas import (
    MAX_TEXT_CHARACTERS,
    EmbeddingsRequest,
    ModelAnswer,
    ModelsAnswer,
)
from longclip.search.service.service import Service
from longclip.text.tokenizer import clip_tokenizer


def openai_router(service: Service) -> APIRouter:
    """Return the routes of OpenAI's API."""
    router = APIRouter()

    @router.post("/v1/embeddings", summary="Embed texts and images")
    async def embeddings(request: EmbeddingsRequest) -> JSONResponse:
        with service.admission.place():
            _check_model(request.model, service)
            _check_dimensions(request.dimensions, service.embedder.model.embedding_dim)
            items = await service.decoding(read_inputs, service.embedder, request.input)
            rows = await service.embed(items)
            return await run_in_threadpool(_answer, request, items, rows, service.model_name)

    @router.get("/v1/models", summary="The model that is served")
    async def models() -> ModelsAnswer:
        return ModelsAnswer(data=[ModelAnswer(id=service.model_name, created=service.started)])

    return router


def read_inputs(
    embedder: Embedder, given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
) -> list[Input]:
    """Read what is to be embedded, and check it, so that none of it can fail later.

    Raises:
        RequestError: naming the input that cannot be embedded.
        longclip.text.ImageError: where an image cannot be decoded.
    """
    if isinstance(given, str):
        return [_read_text(embedder, given, "input")]
    if isinstance(given[0], int):
        return [_read_ids(embedder, given, "input")]  # type: ignore[arg-type]
    return [
        _read_text(embedder, one, f"input[{i}]")
        if isinstance(one, str)
        else _read_ids(embedder, one, f"input[{i}]")  # type: ignore[arg-type]
        for i, one in enumerate(given)
    ]


def _read_text(embedder: Embedder, text: str, param: str) -> Input:
    if is_data_url(text):
        return embedder.pixels(decode_data_url(text, param))
    if not text:
        raise RequestError(400, f"{param} is an empty text", param=param)
    if len(text) > MAX_TEXT_CHARACTERS:  # not even its tokens are counted
        raise RequestError(
            400,
            f"{param} has {len(text):,} characters; a text may have {MAX_TEXT_CHARACTERS:,}",
            param=param,
            code="context_length_exceeded",
        )
    return _fitting(embedder, embedder.tokens(text), param)


def _read_ids(embedder: Embedder, ids: Sequence[int], param: str) -> Tokens:
    """Read ids of a client's own tokenizer; begin and end are added where they are missing."""
    tokenizer = clip_tokenizer()
    begin, end = tokenizer.bos_token_id, tokenizer.eot_token_id
    inner = list(ids)
    if inner[:1] == [begin]:
        inner = inner[1:]
    if inner[-1:] == [end]:
        inner = inner[:-1]
    if not inner or not all(0 <= id < begin for id in inner):
        raise RequestError(
            400,
            f"{param}: token ids are those of CLIP's tokenizer, 0 to {begin - 1}; send texts "
            "instead (LangChain: check_embedding_ctx_length=False)",
            param=param,
        )
    return _fitting(embedder, (begin, *inner, end), param)


def _fitting(embedder: Embedder, tokens: Tokens, param: str) -> Tokens:
    most = embedder.model.context_length
    if len(tokens) > most:
        raise RequestError(
            400,
            f"{param} has {len(tokens)} tokens, this model's maximum context length is {most}; "
            "shorten it, or split it into sentences",
            param=param,
            code="context_length_exceeded",
        )
    return tokens


def _check_model(name: str, service: Service) -> None:
    served = service.model_name
    if name not in (served, served.rpartition("/")[2], service.store.about.model):
        raise RequestError(
            404,
            f"there is no model {name!r} here; this service has {served!r}",
            param="model",
            code="model_not_found",
        )


def _check_dimensions(wanted: int | None, width: int) -> None:
    if wanted is not None and wanted > width:
        raise RequestError(
            400, f"dimensions is {wanted}; this model has {width}", param="dimensions"
        )


def _truncated(rows: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """Return the first numbers of each row, of length one again."""
    if dimensions is None or dimensions == rows.shape[1]:
        return rows
    part = rows[:, :dimensions]
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    whole: NDArray[np.float32] = (part / np.maximum(lengths, 1e-12)).astype(np.float32)
    return whole


def _answer(
    request: EmbeddingsRequest, items: Sequence[Input], rows: NDArray[np.float32], model: str
) -> JSONResponse:
    rows = _truncated(rows, request.dimensions)
    written: list[Any] = (
        [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
        if request.encoding_format == "base64"
        else rows.tolist()
    )
    data = [
        {"object": "embedding", "index": index, "embedding": embedding}
        for index, embedding in enumerate(written)
    ]
    # Images have no tokens that OpenAI's API would know of.
    tokens = sum(len(item) for item in items if isinstance(item, tuple))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": model, "usage": usage})
