"""What goes over the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from longclip.errors import UsageError
from longclip.search.database.schema import ID_PATTERN
from longclip.search.query import DEFAULT_COUNT
from longclip.search.query.query import Query

LONGEST_TEXT = 20_000
LONGEST_NAME = 1000
LONGEST_DATE = 100
MOST_INPUTS = 2048
MOST_TOKENS = 4096
"""Of an input that comes as ids; what the model reads is checked besides."""
MOST_FIELDS = 64

# Of a long list of what it may not have, only the first is an error: each would cost a kilobyte.
_Ids = Annotated[list[int], Field(max_length=MOST_TOKENS, fail_fast=True)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
_Date = Annotated[str, Field(max_length=LONGEST_DATE)]
Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class _Strict(BaseModel):
    """A request that has no other fields than these."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > MOST_FIELDS:
            raise UsageError(f"it has {len(given):,} fields; it may have {MOST_FIELDS}")
        return given


class SearchRequest(_Strict):
    """What is looked for: a text, an image, an image of the database, or several of these."""

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
    """An image that was found."""

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
    """What is served."""

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
    """OpenAI's; `user` and whatever else clients send is of no effect.

    An input may also be an image: a data URL.
    """

    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)]
        | Annotated[_Ids, Field(min_length=1)]
        | Annotated[list[_Ids], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)]
    )
    model: Annotated[str, Field(max_length=LONGEST_NAME)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None


class ModelAnswer(BaseModel):
    """OpenAI's."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="When the service was started, in seconds.")]
    owned_by: str = "longclip"


class ModelsAnswer(BaseModel):
    """OpenAI's: the one model that is served."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]
