"""Schema of the table of images: facts, columns, and what is kept of the model that made it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longclip.encoders.model_encoder import AnyModel, as_encoder
from longclip.errors import SearchError
from longclip.search.database.lance import PRIMARY_KEY

_PixelCount = Annotated[int, pa.int32()]
_ID_DIGITS = 32
ID_PATTERN = f"[0-9a-f]{{{_ID_DIGITS}}}"
PACKED = "facts"
"""The column with all facts of an image."""


@dataclass(frozen=True)
class Facts:
    """Everything about an image but its embedding.

    The columns of the table, what is printed as JSON and what filters may ask for follow from this
    list; over HTTP go those facts that `service.search_api.HitAnswer` names.

    Attributes:
        uri: where it is, the key of the table: an absolute path, a URL, or one of those with `::`
            and the name of a member or the number of a row behind it.
        source: what was indexed when it was found, a folder for example.
        folder: `uri` up to its last part.
        name: the last part of `uri`.
        sha256: of the file's bytes, hexadecimal. By it a copy, and a file that has moved, is
            known for what it is: neither is embedded again, and a search shows copies once.
        bytes: size of the file.
        mtime_ns: when it was last changed, as far as the source knows; else 0.
        width, height: in pixels, upright.
        format: as Pillow calls it: JPEG, PNG, …
        taken: date and time of the photo, as the camera wrote it.
        latitude, longitude: degrees, south and west negative.
        camera: maker and model.
        caption: from a file beside it or a column, as it is.
    """

    uri: str
    source: str
    folder: str
    name: str
    sha256: str
    bytes: int
    mtime_ns: int = 0
    width: _PixelCount = 0
    height: _PixelCount = 0
    format: str = ""
    taken: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    caption: str | None = None

    @property
    def id(self) -> str:
        """Return a name that is safe in a URL and a file name.

        A hash of `uri` and no number, so that a link to it outlives a rebuild of the database.
        """
        return id_of(self.uri)

    def pack(self) -> str:
        """Return all facts as JSON."""
        taken = self.taken.isoformat() if self.taken else None
        return json.dumps(vars(self) | {"taken": taken}, ensure_ascii=False)

    @staticmethod
    def unpack(packed: str) -> "Facts":
        """Read what `pack` has written."""
        values = json.loads(packed)
        taken = values["taken"]
        return Facts(**(values | {"taken": datetime.fromisoformat(taken) if taken else None}))


FACTS = tuple(field.name for field in fields(Facts))
"""Columns that are facts, in the order of the dataclass."""


RECALL_AT = 10
"""Images among which the recall of the vector index is measured."""


@dataclass(frozen=True)
class IndexQuality:
    """Measured recall and cost of an approximate search.

    Attributes:
        kind: of the index.
        trained: images when it was made; those that come later are added to its partitions.
        rows: images when it was measured.
        probes: partitions that a search looks into.
        refine: how many times the wanted number of images are compared again exactly.
        recall_images: share of the 10 nearest images that is found, for images of the table.
        recall_texts: the same for descriptions, which lie apart from all images.
        milliseconds: of one such search.
    """

    kind: str
    trained: int
    rows: int
    probes: int
    refine: int
    recall_images: float
    recall_texts: float
    milliseconds: float

    def __str__(self) -> str:
        return (
            f"search index {self.kind}: of the {RECALL_AT} nearest it finds "
            f"{self.recall_images:.1%} for images and {self.recall_texts:.1%} for texts, "
            f"in {self.milliseconds:.1f} ms ({self.probes} probes, refined {self.refine}-fold)"
        )


@dataclass(frozen=True, eq=False)
class ImageRow:
    """An image in the table.

    Attributes:
        vector: float32 [D], of length one.
        thumbnail: a small JPEG.
    """

    facts: Facts
    vector: NDArray[np.float32] = field(repr=False)
    thumbnail: bytes = field(repr=False)


def id_of(uri: str) -> str:
    """Return the id of the image at `uri`."""
    return hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]


_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    datetime: pa.timestamp("us"),
}


def _arrow_type(kind: Any) -> pa.DataType:
    """Return the column type of an annotation of `Facts`: `str`, `float | None` …"""
    first, *others = get_args(kind) or (kind,)
    named = (each for each in others if isinstance(each, pa.DataType))
    return next(named, _ARROW_TYPES[first])


def schema(width: int, metadata: dict[bytes, bytes]) -> pa.Schema:
    """Return the columns of the table, for embeddings of `width` numbers.

    Vectors are stored in 16 bits: half the disk and memory traffic, and cosines are off by at most
    5e-4, less than the difference between two processors' bfloat16 embeddings.

    Facts are there twice: each in a column of its own for filters, and all together in one, which
    answers are made from. A few rows of one column take a tenth of the time of fifteen columns.

    `uri` is declared as the key: without that, two writers that merge the same new rows at once
    would both insert them.
    """
    key, *others = (
        pa.field(
            name,
            _arrow_type(kind),
            nullable=NoneType in get_args(kind),
            metadata=PRIMARY_KEY if name == "uri" else None,
        )
        for name, kind in get_type_hints(Facts, include_extras=True).items()
    )
    return pa.schema(
        [
            key,
            pa.field("id", pa.string(), nullable=False),
            *others,
            pa.field(PACKED, pa.string(), nullable=False),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), width), nullable=False),
        ],
        metadata,
    )


def to_arrow(rows: list[ImageRow], form: pa.Schema) -> pa.Table:
    """Return rows as an Arrow table of this schema."""
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(row.facts, name) for row in rows], form.field(name).type)
        for name in ("id", *FACTS)
    }
    columns[PACKED] = pa.array([row.facts.pack() for row in rows], pa.string())
    columns["thumbnail"] = pa.array([row.thumbnail for row in rows], pa.binary())
    vectors = np.stack([row.vector for row in rows]).astype(np.float16)
    columns["vector"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel()), vectors.shape[1]
    )
    return pa.Table.from_arrays([columns[name] for name in form.names], schema=form)


_FORMAT = 2
_ABOUT_KEY = b"longclip.search"


@dataclass(frozen=True)
class About:
    """The model that a database was made with.

    Attributes:
        model: what the model was called when it was opened: a directory, a hub name.
        digest: of its weights and settings, see `longclip.model.identity.model_digest`.
        width: numbers in an embedding.
        context_length: tokens of a text.
        format: of the table.
    """

    model: str
    digest: str
    width: int
    context_length: int
    format: int = _FORMAT

    @staticmethod
    def of(model: AnyModel, name: str) -> "About":
        """Describe a model that was opened under this name."""
        encoder = as_encoder(model)
        return About(name, encoder.digest, encoder.embedding_dim, encoder.context_length)

    def metadata(self) -> dict[bytes, bytes]:
        """Return it as metadata of the table's schema."""
        return {_ABOUT_KEY: json.dumps(asdict(self)).encode()}

    @staticmethod
    def read(metadata: dict[bytes, bytes] | None, place: str) -> "About":
        """Read it from the table's schema; raises SearchError where it is not one of ours."""
        found = (metadata or {}).get(_ABOUT_KEY)
        if found is None:
            raise SearchError(
                f"{place} holds a table `images` that longclip has not made; name another --db"
            )
        values = json.loads(found)
        if values.get("format") != _FORMAT:
            raise SearchError(
                f"{place} was made by another version of longclip (format {values.get('format')}, "
                f"this one reads {_FORMAT}); index into a new directory"
            )
        return About(**values)


def check_same_model(stored: About, given: About, place: str) -> None:
    """Refuse a model whose embeddings cannot be compared with those that are there."""
    if given.digest != stored.digest:
        again = f"longclip index … --db {place} --model {given.model} --rebuild"
        if given.model == stored.model:
            raise SearchError(
                f"{place} was indexed with {stored.model}, which has changed since: embeddings of "
                "today's cannot be compared with those that are there. Put the former one back, "
                f"or index everything again: {again}"
            )
        raise SearchError(
            f"{place} was indexed with {stored.model}, and {given.model} is another model: their "
            "embeddings cannot be compared. Use that one, or index everything again with this "
            f"one: {again}"
        )
