"""The messages of a cluster: what workers are given, and what they send back."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from longclip.data.storage import file_info
from longclip.errors import FetchError
from longclip.search.database.lance import quoted
from longclip.search.database.reader import Known, Reader
from longclip.search.database.shard_table import IndexedShard
from longclip.search.indexing.image_loader import KnownImage, NewImage
from longclip.search.indexing.index_plan import ImageTask, IndexPlan
from longclip.search.sources.file_sources import JoinedSource
from longclip.search.sources.image_source import (
    SHARDS,
    ImageSource,
    Item,
    Listing,
    Unusable,
    container_of,
)
from longclip.search.sources.table_source import ParquetSource
from longclip.search.sources.tar_source import TarSource

_Container = TarSource | ParquetSource


@dataclass(frozen=True)
class PendingShard:
    """A file with many images, known by its place alone until a worker looks into it.

    Attributes:
        number: of this shard in this run.
        inside: the file as a source of its own.
        source: what was indexed when it was found; kept with each of its images.
        stamp: tells whether the file is still the same; empty where its storage does not say.
    """

    number: int
    inside: _Container
    source: str
    stamp: str

    @property
    def place(self) -> str:
        """Return the path or URL."""
        return self.inside.name


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
    bad: Unusable


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


class NamedShard:
    """A shard under the name of the source that it belongs to."""

    def __init__(self, name: str, inside: _Container) -> None:
        self.name = name
        self._inside = inside

    def list(self) -> Listing:
        """List the shard."""
        return self._inside.list()

    def read(self, item: Item) -> bytes:
        """Read an image of the shard."""
        return self._inside.read(item)

    def caption(self, item: Item) -> str | None:
        """Return the caption of an image of the shard."""
        return self._inside.caption(item)


@dataclass(frozen=True)
class SplitSources:
    """Sources as files of their own, which are listed before the work begins, and as shards.

    Attributes:
        loose: sources of files of their own.
        sharded: names of the sources that have shards, and where these are, also those missing.
        shards: those that are there.
        missing: those that are not; what is known of them is kept.
    """

    loose: Sequence[ImageSource]
    sharded: Mapping[str, Set[str]] = field(default_factory=dict)
    shards: Sequence[PendingShard] = ()
    missing: Sequence[Unusable] = ()


def split_shards(sources: Sequence[ImageSource]) -> SplitSources:
    """Separate shards from other files; none is looked into."""
    loose: list[ImageSource] = []
    sharded: dict[str, set[str]] = {}
    shards: dict[str, PendingShard] = {}
    missing: list[Unusable] = []
    for source in sources:
        parts = source.parts if isinstance(source, JoinedSource) else [source]
        others = [part for part in parts if not isinstance(part, _Container)]
        if others or not parts:
            loose.append(JoinedSource(source.name, others) if len(others) < len(parts) else source)
        for part in parts:
            if not isinstance(part, _Container):
                continue
            sharded.setdefault(source.name, set()).add(part.name)
            if part.name in shards:
                continue
            try:
                stamp = file_info(part.name).stamp
            except FetchError as error:
                missing.append(Unusable(part.name, str(error)))
                continue
            shards[part.name] = PendingShard(len(shards), part, source.name, stamp)
    return SplitSources(loose, sharded, list(shards.values()), missing)


def chunks(
    tasks: Sequence[ImageTask], size: int, shard: int | None = None, *, again: bool = False
) -> Iterator[ImageChunk]:
    """Divide tasks into chunks of at most `size` images."""
    for start in range(0, len(tasks), size):
        yield ImageChunk(shard, tasks[start : start + size], again)


def vanished(
    store: Reader, source: str, places: Set[str], done: Mapping[str, IndexedShard]
) -> dict[str, Known]:
    """Return the images in shards that are not in their source any more.

    Args:
        store: the database.
        source: name of what has been indexed.
        places: its shards as it is now.
        done: what is kept of its shards.
    """
    left = set(done) - places
    where = f"source = {quoted(source)}"
    recorded = sum(shard.images for shard in done.values())
    if store.count(where) > recorded:
        # Some of its images have come in without a record, their shard not finished.
        there = store.containers(where) - places
        left.update(name for name in there if name.endswith(SHARDS))
    gone: dict[str, Known] = {}
    for place in sorted(left):
        gone |= store.known_in(place)
    return gone


def without_shards(plan: IndexPlan, sharded: Mapping[str, Set[str]]) -> IndexPlan:
    """Return a plan for files of their own in which images of the sources' shards are not gone."""
    places = set().union(*sharded.values())
    gone = {uri: known for uri, known in plan.gone.items() if container_of(uri) not in places}
    return replace(plan, gone=gone)
