"""Stages that run on the workers of a cluster, as one Ray Data pipeline.

A shard is opened, its images are read in chunks, their pixels are embedded. Between the stages a
row is one of the messages below. Pixels are a column of their own, so that they travel through
Ray's shared memory without being copied one by one.
"""

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.encoders.model_encoder import ModelEncoder, unit
from longclip.errors import SearchError
from longclip.search.config import Cluster
from longclip.search.database.reader import Reader
from longclip.search.indexing.image_loader import (
    Decoding,
    FileContent,
    KnownImage,
    NewImage,
    pillow_opens,
    prepare,
    read,
)
from longclip.search.indexing.index_plan import (
    ImageTask,
    IndexPlan,
    Listings,
    NamedShard,
    PendingShard,
    compare,
)
from longclip.search.sources.image_source import Unusable

MESSAGE = "message"
PIXELS = "pixels"
VECTOR = "vector"
_READING_THREADS = 16
"""Per task; they wait for storage most of the time."""
_MAX_BLOCKS = 10_000
"""Tasks that the work is divided into at most: Ray keeps a record of each."""
_OPENING_CPUS = 0.1
_DECODING_CPUS = 0.125
_ENCODING_CPUS = 0.75
"""Processors that a task is taken to need where the model runs on processors, too: it takes nearly
all the time, so there is one encoder for each, and what feeds them has to fit in beside."""

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Snapshot:
    """The database as it was when the work began.

    Ray repeats a task whose worker died, or whose results were lost with one, at any time: also
    when rows of the first try have been written already. It has to find what it found the first
    time, because Ray waits for as many results; so stages read this version and write nothing.
    """

    place: str
    version: int


@dataclass(frozen=True)
class ImageChunk:
    """Images to read in one task.

    Attributes:
        shard: number of the shard that they are from; None for files of their own.
        tasks: what to read.
        again: embed them even if their content seems to be in the database.
    """

    shard: int | None
    tasks: Sequence[ImageTask]
    again: bool = False


@dataclass(frozen=True)
class ShardOpened:
    """A shard that a worker has listed; its images are separate messages, and may come earlier.

    Attributes:
        shard: number.
        plan: what there is to do, its tasks left out.
        tasks: how many there are.
    """

    shard: int
    plan: IndexPlan
    tasks: int


@dataclass(frozen=True)
class ShardUnreadable:
    """A shard that could not be looked into; what is known of it is kept."""

    shard: int
    unusable: Unusable


@dataclass(frozen=True, eq=False)
class ImageLoaded:
    """An image that a worker has read.

    Attributes:
        shard: number of the shard that it is from; None for a file of its own.
        image: without its pixels, which are a column of their own.
    """

    shard: int | None
    image: NewImage | KnownImage | Unusable


Work = PendingShard | ImageChunk
Message = ShardOpened | ShardUnreadable | ImageLoaded


def chunks(
    tasks: Sequence[ImageTask], size: int, shard: int | None = None, *, again: bool = False
) -> Iterator[ImageChunk]:
    """Divide tasks into chunks of at most `size` images."""
    for start in range(0, len(tasks), size):
        yield ImageChunk(shard, tasks[start : start + size], again)


def build_pipeline(
    ray: Any,
    work: Sequence[Work],
    *,
    table: Snapshot,
    encoder: ModelEncoder,
    held: Any,
    decoding: Decoding,
    cluster: Cluster,
    batch_size: int,
) -> Any:
    """Return a Ray Data set of messages and their vectors.

    Args:
        ray: the library, connected to a cluster.
        work: shards and chunks of single files.
        table: what is in the database.
        encoder: for its preprocessing.
        held: reference to it in Ray's shared memory.
        decoding: how images are decoded.
        cluster: where encoders run, and how many.
        batch_size: images per forward pass.

    Raises:
        SearchError: where the cluster has nothing that an encoder could run on.
    """
    available = ray.cluster_resources()
    on_gpu = cluster.device != "cpu"
    encoders = cluster.encoders or int(available.get("GPU" if on_gpu else "CPU", 0))
    if not encoders:
        raise SearchError(
            f"the cluster has no {'GPU' if on_gpu else 'processor'}; add a machine that has"
        )
    encoder_needs = {"num_gpus": 1} if on_gpu else {"num_cpus": _ENCODING_CPUS}
    data = ray.data.from_items(
        [{MESSAGE: each} for each in work], override_num_blocks=min(len(work), _MAX_BLOCKS)
    )
    data = data.flat_map(
        open_shard, fn_args=(table, cluster.images_per_task), num_cpus=_OPENING_CPUS
    )
    # A block is what a task gets: without this, all of a shard would go to one.
    data = data.repartition(target_num_rows_per_block=1)
    data = data.map_batches(
        load_images,
        fn_args=(table, decoding, encoder.preprocess.image_size),
        batch_size=None,
        num_cpus=1 if on_gpu else _DECODING_CPUS,
    )
    return data.map_batches(
        Encode,
        fn_constructor_args=(held, cluster.device),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=encoders),
        **encoder_needs,
    )


def open_shard(row: dict[str, Any], table: Snapshot, size: int) -> Iterator[dict[str, Any]]:
    """List a shard, and yield what is new in it as chunks; a chunk is passed on as it is."""
    work: Work = row[MESSAGE]
    if isinstance(work, ImageChunk):
        yield row
        return
    known = _open(table).indexed_in(work.place)
    source = NamedShard(work.source, work.inside)
    try:
        listing = source.list()
    except (SearchError, OSError, ValueError) as error:
        yield {MESSAGE: ShardUnreadable(work.number, Unusable(work.place, str(error)))}
        return
    plan = compare(Listings([(source, listing)], []), known)
    yield {MESSAGE: ShardOpened(work.number, plan.without_tasks(), len(plan.tasks))}
    for chunk in chunks(plan.tasks, size, work.number):
        yield {MESSAGE: chunk}


def load_images(batch: Batch, table: Snapshot, decoding: Decoding, side: int) -> Batch:
    """Read and decode the images of chunks, but not those whose content is in the database."""
    messages: list[Message] = []
    pixels: list[NDArray[np.uint8]] = []
    # Ray takes a column of arrays of one shape: rows that are no new image have zeros there.
    no_pixels = np.zeros((side, side, 3), np.uint8)
    with pillow_opens(decoding.max_pixels):
        for each in batch[MESSAGE]:
            if not isinstance(each, ImageChunk):
                messages.append(each)
                pixels.append(no_pixels)
                continue
            for image in _load_chunk(each, table, decoding):
                if isinstance(image, NewImage):
                    messages.append(ImageLoaded(each.shard, image.without_pixels()))
                    pixels.append(image.pixels)
                else:
                    messages.append(ImageLoaded(each.shard, image))
                    pixels.append(no_pixels)
    column = np.empty(len(messages), object)
    column[:] = messages
    return {MESSAGE: column, PIXELS: np.stack(pixels) if pixels else no_pixels[None][:0]}


class Encode:
    """The model, held by a process for all batches that it gets.

    Args:
        held: reference to it in Ray's shared memory.
        device: where it runs.
    """

    def __init__(self, held: Any, device: str) -> None:
        import ray

        encoder: ModelEncoder = ray.get(held)
        self._encoder = encoder.to(device)

    def __call__(self, batch: Batch) -> Batch:
        """Embed pixels to float32 [N, D]; the vectors of all but new images are zeros."""
        messages = batch[MESSAGE]
        new = [
            i
            for i, message in enumerate(messages)
            if isinstance(message, ImageLoaded) and isinstance(message.image, NewImage)
        ]
        vectors = np.zeros((len(messages), self._encoder.embedding_dim), np.float32)
        if new:
            vectors[new] = unit(self._encoder.embed_pixels(batch[PIXELS][new]))
        return {MESSAGE: messages, VECTOR: vectors}


def _load_chunk(
    chunk: ImageChunk, table: Snapshot, decoding: Decoding
) -> Iterator[NewImage | KnownImage | Unusable]:
    with ThreadPoolExecutor(_READING_THREADS) as pool:
        contents = list(pool.map(read, chunk.tasks))
    hashes = {each.sha256 for each in contents if isinstance(each, FileContent)}
    known = set() if chunk.again else _open(table).hashes_among(sorted(hashes))
    broken: dict[str, Unusable] = {}
    for content in contents:
        if isinstance(content, Unusable):
            yield content
        elif content.sha256 in broken:
            yield replace(broken[content.sha256], uri=content.task.item.uri)
        elif content.sha256 in known:
            yield content.as_known()
        else:
            image = prepare(content, decoding)
            if isinstance(image, Unusable):
                broken[content.sha256] = image
            else:
                known.add(content.sha256)
            yield image


@lru_cache(maxsize=1)
def _open(table: Snapshot) -> Reader:
    """Open the database, once in each process."""
    try:
        return Reader.open(table.place, version=table.version)
    except SearchError as error:
        raise SearchError(
            f"the worker {socket.gethostname()} cannot open {table.place}: {error}. Workers on "
            "other machines need a --db that they reach too: object storage, or a shared folder"
        ) from error
