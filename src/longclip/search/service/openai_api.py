"""`POST /v1/embeddings` and `GET /v1/models`, as OpenAI's API has them."""

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool

from longclip.encoders.model_encoder import unit
from longclip.search.query import MAX_TEXT_CHARACTERS
from longclip.search.service.embedder import Embedder, Input, Tokens
from longclip.search.service.images import is_data_url, pixels_of
from longclip.search.service.request_limits import RequestError, RequestModel
from longclip.search.service.service import Service
from longclip.text.tokenizer import clip_tokenizer

_MAX_INPUTS = 2048
_MAX_ALL_CHARACTERS = 2_000_000
"""Of all texts of a request: half a minute of cleaning at the very worst."""

_MAX_INPUT_TOKENS = 4096
"""Of an input that comes as ids; what the model reads is checked besides."""

_MAX_MODEL_NAME_CHARACTERS = 1000

# `fail_fast`: of a long list of what it may not have, only the first is an error, as each would
# cost a kilobyte of the answer.
_Ids = Annotated[list[int], Field(max_length=_MAX_INPUT_TOKENS, fail_fast=True)]


class EmbeddingsRequest(RequestModel):
    """A request of OpenAI's API; `user` and whatever else clients send is of no effect.

    An input may also be an image: a data URL.
    """

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=_MAX_INPUTS, fail_fast=True)]
        | Annotated[_Ids, Field(min_length=1)]
        | Annotated[list[_Ids], Field(min_length=1, max_length=_MAX_INPUTS, fail_fast=True)]
    )
    model: Annotated[str, Field(max_length=_MAX_MODEL_NAME_CHARACTERS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _of_one_kind(cls, given: Any) -> Any:
        if problem := _wrong_input(given):
            raise PydanticCustomError("input", "{problem}", {"problem": problem})
        return given


class ModelAnswer(BaseModel):
    """A model in OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="When the service was started, in seconds.")]
    owned_by: str = "longclip"


class ModelsAnswer(BaseModel):
    """The list of models in OpenAI's API: the one that is served."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


def openai_router(service: Service) -> APIRouter:
    """Return the routes of OpenAI's API."""
    router = APIRouter()
    served, width = service.model_name, service.embedder.encoder.embedding_dim
    listed = ModelAnswer(id=served, created=service.started)

    def check_name(name: str) -> None:
        if name not in (served, served.rpartition("/")[2], service.store.about.model):
            raise RequestError(
                404,
                f"there is no model {name!r:.200} here; this service has {served!r}",
                param="model",
                code="model_not_found",
            )

    @router.post("/v1/embeddings", summary="Embed texts and images")
    async def embeddings(request: EmbeddingsRequest) -> JSONResponse:
        with service.admission.place() as check_time:
            check_name(request.model)
            if request.dimensions is not None and request.dimensions > width:
                message = f"dimensions is {request.dimensions}; this model has {width}"
                raise RequestError(400, message, param="dimensions")
            items = await service.decoding(read_inputs, service, request.input)
            check_time()
            rows = await service.embed(items)
            return await run_in_threadpool(_answer, request, items, rows, served)

    @router.get("/v1/models", summary="The model that is served")
    async def models() -> ModelsAnswer:
        return ModelsAnswer(data=[listed])

    @router.get("/v1/models/{name:path}", summary="The same, by its name")
    async def model(name: str) -> ModelAnswer:
        check_name(name)
        return listed

    return router


_ACCEPTED = "send a text, a list of texts, or token ids; an image as data:image/jpeg;base64,…"


def _wrong_input(given: Any) -> str:
    """Return what is wrong with the kind of an input; nothing where it is one of those accepted."""
    if isinstance(given, str):
        return ""
    if not isinstance(given, list):
        return f"it is {_kind(given)}; {_ACCEPTED}"
    if not given:
        return f"it is an empty list; {_ACCEPTED}"
    kind = type(given[0])
    if kind not in (str, int, list):
        return f"the first of its list is {_kind(given[0])}; {_ACCEPTED}"
    for i, one in enumerate(given[:_MAX_INPUT_TOKENS]):
        if type(one) is not kind:
            before = _kind(given[0])
            return (
                f"number {i} of its list is {_kind(one)}, and before stands {before}; {_ACCEPTED}"
            )
        for id in one[:_MAX_INPUT_TOKENS] if kind is list else ():
            if type(id) is not int:
                return f"number {i} of its list holds {_kind(id)}; token ids are whole numbers"
    return ""


def _kind(value: Any) -> str:
    kinds = {str: "a text", list: "a list", dict: "an object", type(None): "null"}
    return kinds.get(type(value)) or json.dumps(value)


def read_inputs(
    service: Service, given: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
) -> list[Input]:
    """Read what is to be embedded, and check it, so that none of it can fail later.

    Raises:
        RequestError: naming the input that cannot be embedded.
        longclip.errors.ImageError: where an image cannot be decoded.
    """
    texts = [one for one in ([given] if isinstance(given, str) else given) if isinstance(one, str)]
    characters = sum(len(text) for text in texts if not is_data_url(text))
    if characters > _MAX_ALL_CHARACTERS:
        raise RequestError(
            400,
            f"the texts have {characters:,} characters together; send {_MAX_ALL_CHARACTERS:,} at "
            "a time",
            param="input",
        )
    if isinstance(given, str):
        return [_read_text(service, given, "input")]
    if isinstance(given[0], int):
        return [_read_ids(service.embedder, given, "input")]  # type: ignore[arg-type]
    return [
        _read_text(service, one, f"input[{i}]")
        if isinstance(one, str)
        else _read_ids(service.embedder, one, f"input[{i}]")  # type: ignore[arg-type]
        for i, one in enumerate(given)
    ]


def _read_text(service: Service, text: str, param: str) -> Input:
    if is_data_url(text):
        return pixels_of(service, text, param)
    if not text:
        raise RequestError(400, f"{param} is an empty text", param=param)
    if len(text) > MAX_TEXT_CHARACTERS:  # not even its tokens are counted
        raise RequestError(
            400,
            f"{param} has {len(text):,} characters; a text may have {MAX_TEXT_CHARACTERS:,}",
            param=param,
            code="context_length_exceeded",
        )
    with service.tokenizing:
        ids = service.embedder.tokens(text)
    return _fitting(service.embedder, ids, param)


def _read_ids(embedder: Embedder, ids: Sequence[int], param: str) -> Tokens:
    """Read ids of a client's own tokenizer; begin and end are added where they are missing.

    What its tokenizer has padded a text with is taken off.
    """
    model = embedder.encoder
    tokenizer = model.tokenizer
    [special] = tokenizer.encode([""])
    begins = len(special) - tokenizer.end_tokens
    begin, end = special[:begins], special[begins:]
    inner = list(ids)
    pad = model.pad_token_id
    padding = sum(1 for _ in itertools.takewhile(pad.__eq__, reversed(inner)))
    whole = inner[: len(inner) - padding]
    # The id may be that of a word, too: then only what stands behind the end is padding.
    if set(end) <= {pad} or whole[-len(end) :] == end:
        inner = whole
    if begin and inner[: len(begin)] == begin:
        inner = inner[len(begin) :]
    if end and inner[-len(end) :] == end:
        inner = inner[: -len(end)]
    known = range(model.vocab_size)
    wrong = next((place for place, id in enumerate(ids) if id not in known), None)
    if wrong is not None:
        problem = (
            f"token id {ids[wrong]} at position {wrong} is not in this model's vocabulary of "
            f"{len(known)} ids"
        )
    elif not inner:
        problem = "there is no token"
    elif (misplaced := next((id for id in inner if id in special), None)) is not None:
        problem = f"token id {misplaced} marks a text's begin or end, and is in its middle"
    else:
        return _fitting(embedder, (*begin, *inner, *end), param)
    # LangChain counts tokens with OpenAI's tokenizer unless it is asked not to.
    whose = "CLIP's" if tokenizer is clip_tokenizer() else "this model's"
    raise RequestError(
        400,
        f"{param}: {problem}; token ids are those of {whose} tokenizer. Send texts instead "
        "(LangChain: check_embedding_ctx_length=False)",
        param=param,
    )


def _fitting(embedder: Embedder, tokens: Tokens, param: str) -> Tokens:
    most = embedder.encoder.context_length
    if len(tokens) > most:
        raise RequestError(
            400,
            f"{param} has {len(tokens)} tokens, this model's maximum context length is {most}; "
            "shorten it, or split it into sentences",
            param=param,
            code="context_length_exceeded",
        )
    return tokens


def _answer(
    request: EmbeddingsRequest, items: Sequence[Input], rows: NDArray[np.float32], model: str
) -> JSONResponse:
    if request.dimensions is not None and request.dimensions < rows.shape[1]:
        rows = unit(rows[:, : request.dimensions])
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
