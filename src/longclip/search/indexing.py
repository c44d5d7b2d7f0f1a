"""Images found, decoded, embedded and written: the whole of `longclip index`."""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from longclip._progress import OnProgress
from longclip.inputs.images import MAX_PIXELS
from longclip.model import CLIP
from longclip.search.about import about, check_same_model
from longclip.search.ann import IndexQuality, ensure_index
from longclip.search.decoding import Decoding
from longclip.search.errors import SearchError
from longclip.search.loading import Loader, hash_key
from longclip.search.locking import writing
from longclip.search.planning import Bad, Listings, Plan, list_all, make_plan
from longclip.search.running import Run
from longclip.search.sources.item import Source
from longclip.search.sources.opening import open_source
from longclip.search.store import Store


@dataclass(frozen=True)
class IndexReport:
    """What an indexing did.

    Every image that was found is in one of `added`, `changed`, `moved`, `unchanged` and `bad`.

    Attributes:
        found: images in the sources.
        added: that were not in the database.
        changed: with other content than before.
        moved: that were in the database at a place where they are not any more; not embedded again.
        unchanged: with the content they had.
        deleted: from the database, as they are gone from their source (those moved aside).
        duplicates: of `added` and `changed`, those whose content was there; not embedded again.
        bad: what could not be used, and why; also parts of sources that could not be listed.
        notes: what the user should know.
        total: images in the database now.
        embedded: images that went through the model.
        seconds: all of it.
        images_per_second: of those that were read, while they were read, embedded and written.
        quality: of the vector index, where there is one.
    """

    found: int
    added: int
    changed: int
    moved: int
    unchanged: int
    deleted: int
    duplicates: int
    bad: tuple[Bad, ...]
    notes: tuple[str, ...]
    total: int
    embedded: int
    seconds: float
    images_per_second: float
    quality: IndexQuality | None

    @property
    def bad_fraction(self) -> float:
        """Share of what was found that could not be used."""
        return len(self.bad) / max(1, self.found)


def index(
    sources: Sequence[str | Path],
    db: str | Path,
    model: CLIP,
    *,
    model_name: str,
    rebuild: bool = False,
    workers: int | None = None,
    batch_size: int = 64,
    thumbnail: int = 256,
    max_pixels: int = MAX_PIXELS,
    keep_deleted: bool = False,
    on_progress: OnProgress | None = None,
) -> IndexReport:
    """Bring a database up to date with its sources.

    What was embedded is written at least every 10 seconds in one piece: killed at any moment, it
    goes on there when it is run again.

    Args:
        sources: see `longclip.search.open_source`. Without any, those that were indexed before.
        db: directory or URL of object storage; made where it is not there.
        model: whose embeddings are kept.
        model_name: what opens it again: a directory, the name of one on the hub.
        rebuild: embed everything anew, with this model, from these sources and those before.
        workers: threads that read and decode; one per processor, at most 32, where None.
        batch_size: images per forward pass.
        thumbnail: longest side of the small JPEG that is kept of each, in pixels.
        max_pixels: the largest width · height of an image.
        keep_deleted: keep what is known of images that are gone.
        on_progress: told how far it is.

    Raises:
        SearchError: where no source can be read, another process writes to the database, it was
            made by another model, or it cannot be written.
    """
    began = time.monotonic()
    place = str(db)
    opened, missing = _open_sources(sources, place, rebuild)
    with writing(place), _quiet_decoders():
        listings = _list_sources(opened, missing)
        if rebuild and Store.exists(place):
            _check_all_there(listings, Store.open(place).sources())
        names = [source.name for source, _ in listings.whole]
        store = _open_store(place, model, model_name, rebuild, names)
        plan = make_plan(listings, store)
        if keep_deleted:
            plan = replace(plan, gone={})
        run = Run(store, plan, model, batch_size, on_progress)
        started = time.monotonic()
        decoding = Decoding(model.preprocess.pixels, thumbnail, max_pixels)
        run.embed_all(Loader(decoding, _hashes(store, plan)), workers)
        speed = len(plan.tasks) / max(time.monotonic() - started, 1e-9)
        run.delete_gone()
        store.compact()
        quality = ensure_index(store, model, on_progress)
        done = run.counts
        return IndexReport(
            found=plan.found,
            added=done["added"],
            changed=done["changed"],
            moved=done["moved"],
            unchanged=plan.unchanged + done["unchanged"],
            deleted=len(plan.gone) - done["moved"],
            duplicates=done["duplicates"],
            bad=(*plan.bad, *run.bad),
            notes=tuple(plan.notes),
            total=len(store),
            embedded=done["embedded"],
            seconds=time.monotonic() - began,
            images_per_second=speed,
            quality=quality,
        )


def forget(source: str, db: str | Path) -> int:
    """Remove all that was indexed from a source; returns how many images that were.

    Raises:
        SearchError: where nothing was indexed from it; says what the sources are.
    """
    place = str(db)
    store = Store.open(place)
    with writing(place):
        known = store.sources()
        name = source if source in known else os.path.abspath(source)
        if name not in known:
            raise SearchError(
                f"nothing in {place} comes from {source}, only from {', '.join(known)}"
            )
        before = len(store)
        store.forget(name)
        store.compact()
        return before - len(store)


def _open_sources(
    places: Sequence[str | Path], db: str, rebuild: bool
) -> tuple[list[Source], list[Bad]]:
    """What is to be indexed, and what of it is not there any more; nothing is written yet."""
    before = Store.open(db).sources() if not places or Store.exists(db) else []
    without = None if "://" in db else db
    opened = [open_source(place, without=without) for place in places]
    bad = []
    for name in before if rebuild or not places else ():
        try:
            opened.append(open_source(name, without=without))
        except SearchError as error:
            bad.append(Bad(name, str(error)))
    return list({source.name: source for source in reversed(opened)}.values())[::-1], bad


def _list_sources(opened: Sequence[Source], missing: Sequence[Bad]) -> Listings:
    listings = list_all(opened) if opened else Listings((), ())
    return Listings(listings.whole, [*missing, *listings.bad])


def _check_all_there(listings: Listings, before: Sequence[str]) -> None:
    """Nothing is thrown away that could not be made again."""
    empty = [
        source.name
        for source, listing in listings.whole
        if source.name in before and not listing.items
    ]
    if listings.bad or empty:
        lacking = ", ".join([*(bad.uri for bad in listings.bad), *empty])
        raise SearchError(
            f"{lacking} cannot be read now and would be lost; connect the disk, or --forget it "
            "first. Nothing was changed"
        )


def _open_store(place: str, model: CLIP, name: str, rebuild: bool, sources: Sequence[str]) -> Store:
    """The database, which knows what it is made from before there is anything in it."""
    if rebuild or not Store.exists(place):
        return Store.create(place, about(model, name), replace=rebuild, sources=sources)
    store = Store.open(place)
    check_same_model(store.about, model, name, place)
    store.remember(sources)
    return store


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """What Pillow has to say of single files is in their reasons, or does not matter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _hashes(store: Store, plan: Plan) -> set[bytes]:
    if not plan.tasks:
        return set()
    return {
        hash_key(sha256)
        for batch in store.scan(["sha256"])
        for sha256 in batch.column(0).to_pylist()
    }
