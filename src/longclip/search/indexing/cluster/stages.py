"""What runs on the workers of a cluster: looking into shards, reading, embedding.

Between the stages a row is one of the classes of `work`, or an image. Pixels are a column of their
own, so that they travel through Ray's shared memory without being copied one by one.
"""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.errors import SearchError
from longclip.model import CLIP
from longclip.search.database.reader import Reader
from longclip.search.indexing.cluster.work import Chunk, Opened, Renamed, Shard, Unreadable, chunks
from longclip.search.indexing.encoding import encode_pixels
from longclip.search.indexing.image_loader import (
    Content,
    Decoding,
    Fresh,
    Same,
    pillow_opens,
    prepare,
    read,
)
from longclip.search.indexing.index_plan import Listings, compare
from longclip.search.sources.image_source import Bad

TOLD = "told"
PIXELS = "pixels"
VECTOR = "vector"
_READERS = 16
"""Threads that read; they wait for storage most of the time."""

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Snapshot:
    """The database as it was when the work began.

    A task that is repeated because a worker died has to find what it found the first time: Ray
    waits for as many results.
    """

    place: str
    version: int


def look_into(row: dict[str, Any], table: Snapshot, size: int) -> Iterator[dict[str, Any]]:
    """Chunks of what is new in a shard; a chunk that is one already is passed on."""
    work: Shard | Chunk = row[TOLD]
    if isinstance(work, Chunk):
        yield row
        return
    known = _open(table).known_in(work.place)
    source = Renamed(work.source, work.inside)
    try:
        listing = source.list()
    except (SearchError, OSError, ValueError) as error:
        yield {TOLD: Unreadable(work.number, Bad(work.place, str(error)))}
        return
    plan = compare(Listings([(source, listing)], []), known)
    yield {TOLD: Opened(work.number, plan.without_tasks(), len(plan.tasks))}
    for chunk in chunks(plan.tasks, size, work.number):
        yield {TOLD: chunk}


def load(batch: Batch, table: Snapshot, how: Decoding, side: int) -> Batch:
    """Read and decode the images of chunks, but not those whose content is in the database."""
    told: list[object] = []
    pixels: list[NDArray[np.uint8]] = []
    empty = np.zeros((side, side, 3), np.uint8)
    with pillow_opens(how.max_pixels):
        for work in batch[TOLD]:
            if not isinstance(work, Chunk):
                told.append(work)
                pixels.append(empty)
                continue
            for image in _load_chunk(work, table, how):
                told.append((work.shard, _without_pixels(image)))
                pixels.append(image.pixels if isinstance(image, Fresh) else empty)
    return {TOLD: _objects(told), PIXELS: np.stack(pixels) if pixels else empty[None][:0]}


class Encode:
    """The model, held by a process for all batches that it gets.

    Args:
        model: reference to it in Ray's shared memory.
        device: where it runs.
    """

    def __init__(self, model: Any, device: str) -> None:
        import ray

        held: CLIP = ray.get(model)
        self._model = held.to(device)

    def __call__(self, batch: Batch) -> Batch:
        """float32 [N, D] for the pixels; what is no new image has no vector."""
        told = batch[TOLD]
        fresh = [i for i, each in enumerate(told) if _is_fresh(each)]
        vectors = np.zeros((len(told), self._model.embedding_dim), np.float32)
        if fresh:
            vectors[fresh] = encode_pixels(self._model, batch[PIXELS][fresh])
        return {TOLD: told, VECTOR: vectors}


def _load_chunk(chunk: Chunk, table: Snapshot, how: Decoding) -> Iterator[Fresh | Same | Bad]:
    with ThreadPoolExecutor(_READERS) as pool:
        contents = list(pool.map(read, chunk.tasks))
    hashes = {each.sha256 for each in contents if isinstance(each, Content)}
    known = set() if chunk.again else _open(table).hashes_among(sorted(hashes))
    broken: dict[str, Bad] = {}
    for content in contents:
        if isinstance(content, Bad):
            yield content
        elif content.sha256 in broken:
            yield replace(broken[content.sha256], uri=content.task.item.uri)
        elif content.sha256 in known:
            yield content.same()
        else:
            image = prepare(content, how)
            if isinstance(image, Bad):
                broken[content.sha256] = image
            else:
                known.add(content.sha256)
            yield image


def _is_fresh(told: object) -> bool:
    return isinstance(told, tuple) and isinstance(told[1], Fresh)


def _without_pixels(image: Fresh | Same | Bad) -> Fresh | Same | Bad:
    return image.without_pixels() if isinstance(image, Fresh) else image


def _objects(values: list[object]) -> NDArray[Any]:
    """An array of these as they are; NumPy alone would make a table of tuples."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


@lru_cache(maxsize=1)
def _open(table: Snapshot) -> Reader:
    """Once in a process."""
    try:
        return Reader.open(table.place, version=table.version)
    except SearchError as error:
        raise SearchError(
            f"the worker {socket.gethostname()} cannot open {table.place}: {error}. Workers on "
            "other machines need a --db that they reach too: object storage, or a shared folder"
        ) from error
