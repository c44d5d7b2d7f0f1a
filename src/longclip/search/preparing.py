"""What comes before any image is read: sources opened and listed, the database made or opened."""

from collections.abc import Sequence
from pathlib import Path

from longclip.errors import SearchError
from longclip.model import CLIP
from longclip.search.about import about, check_same_model
from longclip.search.errors import Bad
from longclip.search.lance import quoted
from longclip.search.planning import Listings, list_all
from longclip.search.sources.image_source import ImageSource, is_url
from longclip.search.sources.open_image_source import open_image_source
from longclip.search.store import Store


def open_sources(
    places: Sequence[str | Path], db: str, rebuild: bool
) -> tuple[list[ImageSource], list[Bad]]:
    """What is to be indexed, and what of it is not there any more; nothing is written yet."""
    before = Store.open(db).sources() if not places or Store.exists(db) else []
    without = None if is_url(db) else db
    opened = [open_image_source(place, without=without) for place in places]
    bad = []
    for name in before if rebuild or not places else ():
        try:
            opened.append(open_image_source(name, without=without))
        except SearchError as error:
            bad.append(Bad(name, str(error)))
    return list({source.name: source for source in reversed(opened)}.values())[::-1], bad


def list_sources(opened: Sequence[ImageSource], missing: Sequence[Bad]) -> Listings:
    """All that can be listed; `missing` could not even be opened."""
    listings = list_all(opened) if opened else Listings((), ())
    return Listings(listings.whole, [*missing, *listings.bad])


def check_all_there(listings: Listings, store: Store) -> None:
    """Nothing is thrown away that could not be made again."""
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


def open_store(place: str, model: CLIP, name: str, rebuild: bool, sources: Sequence[str]) -> Store:
    """The database, which knows what it is made from before there is anything in it."""
    given = about(model, name)
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
