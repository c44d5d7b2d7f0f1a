"""The status of a database: what it holds."""

import os
from collections import Counter
from dataclasses import dataclass

from longclip.data.storage import is_url
from longclip.search.database.provenance import About
from longclip.search.database.reader import Reader
from longclip.search.database.schema import IndexQuality


@dataclass(frozen=True)
class Status:
    """What a database holds.

    Attributes:
        place: where it is.
        about: the model it was made with.
        images: rows.
        contents: different files among them.
        disk_bytes: what it takes on disk; None in object storage.
        sources: images by what was indexed.
        quality: of the vector index, where there is one.
    """

    place: str
    about: About
    images: int
    contents: int
    disk_bytes: int | None
    sources: dict[str, int]
    quality: IndexQuality | None


def status(place: str) -> Status:
    """Look into a database; raises SearchError where there is none."""
    store = Reader.open(place)
    sources: Counter[str] = Counter(dict.fromkeys(store.sources(), 0))
    contents: set[str] = set()
    for batch in store.scan(["source", "sha256"]):
        sources.update(batch.column("source").to_pylist())
        contents.update(batch.column("sha256").to_pylist())
    return Status(
        place=place,
        about=store.about,
        images=len(store),
        contents=len(contents),
        disk_bytes=None if is_url(place) else _disk_bytes(place),
        sources=dict(sources),
        quality=store.quality(),
    )


def _disk_bytes(folder: str) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except OSError:  # a writer has just tidied it away
                continue
    return total
