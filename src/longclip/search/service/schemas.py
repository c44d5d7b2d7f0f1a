"""Requests and answers as JSON."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from longclip.errors import UsageError
from longclip.search.database.schema import ID_PATTERN
from longclip.search.query import DEFAULT_COUNT
from longclip.search.query.query import Query

MAX_TEXT_CHARACTERS = 20_000
MAX_MODEL_NAME_CHARACTERS = 1000
MAX_DATE_CHARACTERS = 100
MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 4096
"""Of an input that comes as ids; what the model reads is checked besides."""
MAX_FIELDS = 64

# Of a long list of what it may not have, only the first is an error: each would cost a kilobyte.
_Ids = Annotated[list[int], Field(max_length=MAX_INPUT_TOKENS, fail_fast=True)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)]
_Date = Annotated[str, Field(max_length=MAX_DATE_CHARACTERS)]
Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class _Strict(BaseModel):
    """A request that has no other fields than these."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > MAX_FIELDS:
            raise UsageError(f"it has {len(given):,} fields; it may have {MAX_FIELDS}")
        return given


class SearchRequest(_Strict):
    """A query: a text, an image, an image of the database, or several of these."""

    text: Text = ""
    without: Annotated[list[Text], Field(alias="not", max_length=32, fail_fast=True)] = []
    image: Annotated[str | None, Field(description="A data URL, base64.")] = None
    like: Id | None = None
    where: Annotated[Text | None, Field(description="An SQL condition on what is known.")] = None
    folder: Text | None = None
    after: Annotated[_Date | None, Field(description="2024, 2024-05, 2024-05-31 …")] = None
    before: _Date | None = None
    text_share: Annotated[
        float, Field(ge=0, le=1, description="What the text counts for beside an image.")
    ] = Query.text_share
    k: Annotated[int, Field(ge=1, le=200)] = DEFAULT_COUNT
    offset: Annotated[int, Field(ge=0, le=2000)] = 0
    why: bool = True


class HitAnswer(BaseModel):
    """An image that was found; what its facts mean is said in `longclip.search.Facts`."""

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
    similarity: float
    also: list[str]
    sentences: list[float]
    thumbnail: str


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
    version: str
    example_folders: list[str]


class TokensRequest(_Strict):
    """A text to be counted."""

    text: Text


class TokensAnswer(BaseModel):
    """Tokens, begin and end included, and the index of the first word that is not read."""

    count: int
    context_length: int
    cut_77: int | None
    cut: int | None


class EmbeddingsRequest(BaseModel):
    """A request of OpenAI's API; `user` and whatever else clients send is of no effect.

    An input may also be an image: a data URL.
    """

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
        | Annotated[_Ids, Field(min_length=1)]
        | Annotated[list[_Ids], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
    )
    model: Annotated[str, Field(max_length=MAX_MODEL_NAME_CHARACTERS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None


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
