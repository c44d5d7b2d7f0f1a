"""What a database knows of an image."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longclip.search.database.lance import KEY

ID_DIGITS = 32
ID_PATTERN = f"[0-9a-f]{{{ID_DIGITS}}}"
PACKED = "facts"
"""The column with all facts of an image."""


@dataclass(frozen=True)
class Facts:
    """Everything about an image but its embedding.

    Attributes:
        uri: where it is, the key of the table: an absolute path, a URL, or one of those with `::`
            and the name of a member or the number of a row behind it.
        source: what was indexed when it was found, a folder for example.
        folder: `uri` up to its last part.
        name: the last part of `uri`.
        sha256: of the file's bytes, hexadecimal.
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
    width: int = 0
    height: int = 0
    format: str = ""
    taken: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    caption: str | None = None

    @property
    def id(self) -> str:
        """A name that is safe in a URL and a file name."""
        return id_of(self.uri)

    def pack(self) -> str:
        """All of it as JSON."""
        taken = self.taken.isoformat() if self.taken else None
        return json.dumps(vars(self) | {"taken": taken}, ensure_ascii=False)

    @staticmethod
    def unpack(packed: str) -> "Facts":
        """What `pack` has made."""
        values = json.loads(packed)
        taken = values["taken"]
        return Facts(**(values | {"taken": datetime.fromisoformat(taken) if taken else None}))


@dataclass(frozen=True, eq=False)
class Row:
    """An image in the table.

    Attributes:
        vector: float32 [D], of length one.
        thumbnail: a small JPEG.
    """

    facts: Facts
    vector: NDArray[np.float32] = field(repr=False)
    thumbnail: bytes = field(repr=False)


def id_of(uri: str) -> str:
    """The id of the image at `uri`."""
    return hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()[:ID_DIGITS]


def schema(width: int, metadata: dict[bytes, bytes]) -> pa.Schema:
    """Columns of the table, for embeddings of `width` numbers.

    Vectors are stored in 16 bits: half the disk and memory traffic, and cosines are off by at most
    5e-4, less than the difference between two processors' bfloat16 embeddings.

    Facts are there twice: each in a column of its own for filters, and all together in one, which
    answers are made from. A few rows of one column take a tenth of the time of fifteen columns.

    Lance is told that `uri` is the key: without that, two writers that merge the same new rows at
    once would both insert them.
    """
    return pa.schema(
        [
            pa.field("uri", pa.string(), nullable=False, metadata=KEY),
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("folder", pa.string(), nullable=False),
            pa.field("name", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("format", pa.string(), nullable=False),
            pa.field("taken", pa.timestamp("us")),
            pa.field("latitude", pa.float64()),
            pa.field("longitude", pa.float64()),
            pa.field("camera", pa.string()),
            pa.field("caption", pa.string()),
            pa.field(PACKED, pa.string(), nullable=False),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), width), nullable=False),
        ],
        metadata,
    )


FACTS = tuple(name for name in Facts.__dataclass_fields__)
"""Columns that are facts, in the order of the dataclass."""


def to_arrow(rows: list[Row], form: pa.Schema) -> pa.Table:
    """Rows as a table of this schema."""
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
