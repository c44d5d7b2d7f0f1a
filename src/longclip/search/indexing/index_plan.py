"""Plan of an indexing: sources as they are now, against what the database knows of them."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from longclip.data.storage import file_info
from longclip.errors import FetchError, SearchError
from longclip.search.database.lance import quoted
from longclip.search.database.reader import IndexedImage, Reader
from longclip.search.database.shard_table import IndexedShard
from longclip.search.sources.file_sources import FolderSource, JoinedSource
from longclip.search.sources.image_source import (
    PART,
    SHARDS,
    ImageSource,
    Item,
    Listing,
    UnlistedKind,
    Unusable,
    container_of,
)
from longclip.search.sources.table_source import ParquetSource
from longclip.search.sources.tar_source import TarSource


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image that has to be read, and what was known of it."""

    source: ImageSource
    item: Item
    before: IndexedImage | None


@dataclass(frozen=True)
class IndexPlan:
    """Work of an indexing.

    Attributes:
        found: images in the sources.
        unchanged: images of the same size and time.
        tasks: the new ones, and those that may have changed.
        gone: what is in the database and not in its source any more, by `uri`.
        unusable: images that cannot be used, which `found` counts too.
        unread: places that could not be looked into. All that is known of them is kept.
        links: what is no file and no folder: links that lead nowhere, pipes, devices.
        notes: what the user should know.
    """

    found: int
    unchanged: int
    tasks: Sequence[ImageTask]
    gone: Mapping[str, IndexedImage]
    unusable: Sequence[Unusable]
    unread: Sequence[Unusable]
    links: Sequence[Unusable]
    notes: Sequence[str]

    def without_tasks(self) -> "IndexPlan":
        """Return all else of it."""
        return replace(self, tasks=())


@dataclass(frozen=True)
class Listings:
    """Content of several sources now.

    Attributes:
        whole: each source that could be listed.
        unusable: those that could not.
    """

    whole: Sequence[tuple[ImageSource, Listing]]
    unusable: Sequence[Unusable]


def list_all(sources: Sequence[ImageSource], missing: Sequence[Unusable] = ()) -> Listings:
    """List sources.

    Args:
        sources: that could be opened.
        missing: those that could not.

    Raises:
        SearchError: where not one of `sources` can be listed.
    """
    listings, unusable = [], []
    for source in sources:
        try:
            listings.append((source, source.list()))
        except SearchError as error:
            unusable.append(Unusable(source.name, str(error)))
    if unusable and not listings:
        raise SearchError("; ".join(each.reason for each in unusable))
    return Listings(listings, [*missing, *unusable])


def make_plan(listings: Listings, store: Reader) -> IndexPlan:
    """Compare sources with all that the database knows of them."""
    known = store.indexed_from(*(source.name for source, _ in listings.whole))
    return compare(listings, known, store if len(store) > len(known) else None)


def compare(
    listings: Listings, known: Mapping[str, IndexedImage], store: Reader | None = None
) -> IndexPlan:
    """Compare sources with what is known of them.

    A source that cannot be listed, or in which there is nothing any more, is taken for a disk that
    is not connected: what is known of it is kept.

    Args:
        listings: the sources as they are now.
        known: what has been indexed from them, by `uri`.
        store: may have more of their images, which another source has brought in.
    """
    parts: dict[UnlistedKind, list[Unusable]] = {kind: [] for kind in UnlistedKind}
    parts[UnlistedKind.PLACE] += listings.unusable
    notes = [
        f"{each.uri} could not be read; what is known of it is kept. If it is gone for good: "
        "--forget it"
        for each in listings.unusable
    ]
    found: dict[str, tuple[ImageSource, Item]] = {}
    for source, listing in listings.whole:
        for item in listing.items:
            if _is_utf8(item.uri):
                found.setdefault(item.uri, (source, item))
            else:
                reason = "its name is no UTF-8; rename it"
                parts[UnlistedKind.IMAGE].append(Unusable(ascii(item.uri), reason))
        for part in listing.unlisted:
            place = _shown(part.place or part.prefix)
            parts[part.kind].append(Unusable(place, _shown(part.reason)))
        notes += listing.notes
    # Two sources may have a part in common.
    unusable, unread, links = (
        list({each.uri: each for each in parts[kind]}.values())
        for kind in (UnlistedKind.IMAGE, UnlistedKind.PLACE, UnlistedKind.LINK)
    )
    new = [uri for uri in found if uri not in known]
    elsewhere = store.indexed_at(new) if store is not None else {}
    tasks = []
    for uri, (source, item) in found.items():
        before = known.get(uri) or elsewhere.get(uri)
        # Size and time decide, as with rsync: comparing contents would read every file each time.
        if (
            before is None
            or item.mtime_ns != before.mtime_ns
            or item.bytes not in (None, before.bytes)
        ):
            tasks.append(ImageTask(source, item, before))
    gone, gone_notes = _gone(listings.whole, known, found)
    notes += gone_notes
    return IndexPlan(
        found=len(found) + len(unusable),
        unchanged=len(found) - len(tasks),
        tasks=tasks,
        gone=gone,
        unusable=unusable,
        unread=unread,
        links=links,
        notes=notes,
    )


def _is_utf8(uri: str) -> bool:
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return text if _is_utf8(text) else ascii(text)


def _gone(
    listings: Sequence[tuple[ImageSource, Listing]],
    known: Mapping[str, IndexedImage],
    found: Mapping[str, object],
) -> tuple[dict[str, IndexedImage], list[str]]:
    missing: dict[str, list[str]] = defaultdict(list)
    for uri, before in known.items():
        if uri not in found:
            missing[before.source].append(uri)
    gone: dict[str, IndexedImage] = {}
    notes: list[str] = []
    for source, listing in listings:
        uris = missing.pop(source.name, [])
        unopened = _in_unopened_tars(source, uris)
        notes += (
            f"{folder} is no folder of nothing but tar files any more, so that these are not "
            f"looked into; the {count:,} images known from them are kept. To index them, name "
            f"them as well, in quotes: '{folder}/*.tar'"
            for folder, count in Counter(unopened.values()).items()
        )
        uris = [uri for uri in uris if uri not in unopened]
        if uris and not listing.items:
            notes.append(
                f"{source.name} holds no image any more, and the database {len(uris):,}, which "
                "are kept: is its disk connected? If they are gone for good: --forget it"
            )
            continue
        kept = tuple(part.prefix for part in listing.unlisted)
        gone |= {uri: known[uri] for uri in uris if not uri.startswith(kept)}
    return gone, notes


def _in_unopened_tars(source: ImageSource, uris: Sequence[str]) -> dict[str, str]:
    """Return images in tar files of folders of which only files are listed, and these folders.

    A folder of nothing but tar files is one of shards until some other file comes into it.
    """
    parts = source.parts if isinstance(source, JoinedSource) else [source]
    folders = tuple(os.path.join(p.name, "") for p in parts if isinstance(p, FolderSource))
    there: dict[str, bool] = {}
    found = {}
    for uri in uris:
        stem, is_in_tar, _ = uri.partition(f".tar{PART}")
        tar = f"{stem}.tar"
        if not is_in_tar or not tar.startswith(folders):
            continue
        if tar not in there:
            there[tar] = os.path.isfile(tar)
        if there[tar]:
            found[uri] = os.path.dirname(tar)
    return found


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


def vanished(
    store: Reader, source: str, places: Set[str], done: Mapping[str, IndexedShard]
) -> dict[str, IndexedImage]:
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
    gone: dict[str, IndexedImage] = {}
    for place in sorted(left):
        gone |= store.indexed_in(place)
    return gone


def without_shards(plan: IndexPlan, sharded: Mapping[str, Set[str]]) -> IndexPlan:
    """Return a plan for files of their own in which images of the sources' shards are not gone."""
    places = set().union(*sharded.values())
    gone = {uri: known for uri, known in plan.gone.items() if container_of(uri) not in places}
    return replace(plan, gone=gone)
