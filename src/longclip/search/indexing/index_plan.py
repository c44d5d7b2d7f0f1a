"""The plan of an indexing: sources as they are now, against what the database knows of them."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longclip.data.storage import is_url
from longclip.errors import SearchError
from longclip.model import CLIP
from longclip.search.database.lance import quoted
from longclip.search.database.provenance import About, check_same_model
from longclip.search.database.reader import Known, Reader
from longclip.search.database.store import Store
from longclip.search.sources.file_sources import FolderSource, JoinedSource
from longclip.search.sources.image_source import PART, ImageSource, Item, Listing, Unusable
from longclip.search.sources.open_image_source import open_image_source


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image that has to be read, and what was known of it."""

    source: ImageSource
    item: Item
    before: Known | None


@dataclass(frozen=True)
class IndexPlan:
    """The work of an indexing.

    Attributes:
        found: images in the sources.
        unchanged: images of the same size and time.
        tasks: the new ones, and those that may have changed.
        gone: what is in the database and not in its source any more, by `uri`.
        bad: what could not be looked into. All that is known of it is kept.
        notes: what the user should know.
    """

    found: int
    unchanged: int
    tasks: Sequence[ImageTask]
    gone: Mapping[str, Known]
    bad: Sequence[Unusable]
    notes: Sequence[str]

    def without_tasks(self) -> "IndexPlan":
        """Return all else of it."""
        return replace(self, tasks=())


@dataclass(frozen=True)
class Listings:
    """The content of several sources now.

    Attributes:
        whole: each source that could be listed.
        bad: those that could not.
    """

    whole: Sequence[tuple[ImageSource, Listing]]
    bad: Sequence[Unusable]


def list_all(sources: Sequence[ImageSource]) -> Listings:
    """List sources.

    Raises:
        SearchError: where not one of them can be listed.
    """
    listings, bad = [], []
    for source in sources:
        try:
            listings.append((source, source.list()))
        except SearchError as error:
            bad.append(Unusable(source.name, str(error)))
    if not listings:
        raise SearchError("; ".join(problem.reason for problem in bad))
    return Listings(listings, bad)


def make_plan(listings: Listings, store: Reader) -> IndexPlan:
    """Compare sources with all that the database knows of them."""
    known = store.known(*(source.name for source, _ in listings.whole))
    return compare(listings, known, store if len(store) > len(known) else None)


def compare(
    listings: Listings, known: Mapping[str, Known], store: Reader | None = None
) -> IndexPlan:
    """Compare sources with what is known of them.

    A source that cannot be listed, or in which there is nothing any more, is taken for a disk that
    is not connected: what is known of it is kept.

    Args:
        listings: the sources as they are now.
        known: what has been indexed from them, by `uri`.
        store: may have more of their images, which another source has brought in.
    """
    bad = list(listings.bad)
    notes = [f"{b.uri} could not be read; what is known of it is kept" for b in bad]
    found: dict[str, tuple[ImageSource, Item]] = {}
    for source, listing in listings.whole:
        for item in listing.items:
            if _is_utf8(item.uri):
                found.setdefault(item.uri, (source, item))
            else:
                bad.append(Unusable(ascii(item.uri), "its name is no UTF-8; rename it"))
        bad += (
            Unusable(_shown(part.place or part.prefix), _shown(part.reason))
            for part in listing.unlisted
        )
    new = [uri for uri in found if uri not in known]
    elsewhere = store.known_at(new) if store is not None else {}
    tasks = []
    for uri, (source, item) in found.items():
        before = known.get(uri) or elsewhere.get(uri)
        if before is None or not _same(item, before):
            tasks.append(ImageTask(source, item, before))
    gone, gone_notes = _gone(listings.whole, known, found)
    return IndexPlan(len(found), len(found) - len(tasks), tasks, gone, bad, [*notes, *gone_notes])


def _is_utf8(uri: str) -> bool:
    try:
        uri.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return text if _is_utf8(text) else ascii(text)


def _same(item: Item, before: Known) -> bool:
    return item.mtime_ns == before.mtime_ns and item.bytes in (None, before.bytes)


def _gone(
    listings: Sequence[tuple[ImageSource, Listing]],
    known: Mapping[str, Known],
    found: Mapping[str, object],
) -> tuple[dict[str, Known], list[str]]:
    missing: dict[str, list[str]] = defaultdict(list)
    for uri, before in known.items():
        if uri not in found:
            missing[before.source].append(uri)
    gone: dict[str, Known] = {}
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


def open_sources(
    places: Sequence[str | Path], db: str, rebuild: bool
) -> tuple[list[ImageSource], list[Unusable]]:
    """Open what is to be indexed; the second list is what is not there any more.

    Nothing is written yet.
    """
    before = Store.open(db).sources() if not places or Store.exists(db) else []
    without = None if is_url(db) else db
    opened = [open_image_source(place, without=without) for place in places]
    bad = []
    for name in before if rebuild or not places else ():
        try:
            opened.append(open_image_source(name, without=without))
        except SearchError as error:
            bad.append(Unusable(name, str(error)))
    return list({source.name: source for source in reversed(opened)}.values())[::-1], bad


def list_sources(opened: Sequence[ImageSource], missing: Sequence[Unusable]) -> Listings:
    """List all that can be listed; `missing` could not even be opened."""
    listings = list_all(opened) if opened else Listings((), ())
    return Listings(listings.whole, [*missing, *listings.bad])


def check_all_there(listings: Listings, store: Store) -> None:
    """Refuse to rebuild a database from less than it holds.

    Raises:
        SearchError: names what cannot be read now.
    """
    before = store.sources()
    empty = [
        source.name
        for source, listing in listings.whole
        if source.name in before and not listing.items
    ]
    # What could never be looked into, such as a link that leads nowhere, is no loss.
    hidden = [
        part.place or part.prefix
        for _, listing in listings.whole
        for part in listing.unlisted
        if store.count(f"starts_with(uri, {quoted(part.prefix)})")
    ]
    if listings.bad or empty or hidden:
        lacking = ", ".join([*(bad.uri for bad in listings.bad), *empty, *hidden])
        raise SearchError(
            f"{lacking} cannot be read now and would be lost; connect the disk, or --forget it "
            "first. Nothing was changed"
        )


def open_database(
    place: str, model: CLIP, name: str, rebuild: bool, sources: Sequence[str]
) -> Store:
    """Open or make the database, which knows its sources before there is anything in it."""
    given = About.of(model, name)
    if rebuild or not Store.exists(place):
        return Store.create(place, given, replace=rebuild, sources=sources)
    store = Store.open(place)
    if not len(store) and store.about != given:
        # Nothing is lost, and a first run that failed does not bind the next one to its model.
        known = dict.fromkeys([*store.sources(), *sources])
        return Store.create(place, given, replace=True, sources=list(known))
    check_same_model(store.about, given, place)
    store.remember(sources)
    return store
