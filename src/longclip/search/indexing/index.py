"""Indexing from end to end: images are found, decoded, embedded and written."""

import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from longclip.data.storage import is_url
from longclip.encoders.model_encoder import AnyModel, ModelEncoder, as_encoder, unit
from longclip.errors import SearchError, UnreadableError
from longclip.search.config import Cluster, IndexConfig
from longclip.search.database.checksums import check_files, keep_checksums
from longclip.search.database.lance import quoted
from longclip.search.database.origin import read_origin
from longclip.search.database.reader import check_no_other_files
from longclip.search.database.schema import About, ImageRow, check_same_model
from longclip.search.database.store import Store, writer_lock
from longclip.search.database.vector_index import ensure_index
from longclip.search.indexing.cluster.cluster_run import ROWS_PER_WRITE, ClusterRun
from longclip.search.indexing.cluster.ray_session import check_address
from longclip.search.indexing.image_loader import (
    Decoding,
    ImageLoader,
    NewImage,
    hash_key,
    load_all,
    pillow_opens,
)
from longclip.search.indexing.index_plan import (
    ImageTask,
    IndexPlan,
    Listings,
    SplitSources,
    list_all,
    make_plan,
    split_shards,
)
from longclip.search.indexing.outcomes import STAGE, IndexReport, Outcomes
from longclip.search.sources.image_source import ImageSource, Unusable
from longclip.search.sources.open_image_source import open_image_source
from longclip.util.libraries import require_libraries
from longclip.util.terminal import SILENT, OnProgress
from longclip.util.unicode import unicode_forms


def index(
    sources: Sequence[str | Path],
    db: str | Path,
    model: AnyModel,
    config: IndexConfig | None = None,
    *,
    model_name: str,
    cluster: Cluster | None = None,
    on_progress: OnProgress = SILENT,
    **options: Any,
) -> IndexReport:
    """Bring a database up to date with its sources.

    What was embedded is written every 10 seconds in one piece: killed at any moment, it goes on
    there when it is run again.

    Args:
        sources: see `open_image_source`. Without any, those that were indexed before.
        db: directory or URL of object storage; made where it is not there.
        model: whose embeddings are kept: a `longclip.CLIP`, or what `longclip.load` gives with an
            `engine`.
        config: how it is done. `max_bad_fraction` is for the caller: the report counts what
            could not be used.
        model_name: what opens it again: a directory, the name of one on the hub.
        cluster: read and embed with Ray Data; `workers` does not count then.
        on_progress: called with how far it is.
        options: fields of `config` by name, which replace those.

    Raises:
        UsageError: where an option is out of its bounds.
        CheckpointError: where the model's own tokenizer is missing.
        SearchError: where no source can be read, another process writes to the database, it was
            made by another model, a file of it is damaged, or it cannot be written.
    """
    config = replace(config or IndexConfig(), **options)
    encoder = as_encoder(model)
    encoder.check_tokenizer()  # an index is measured with texts, and made for them
    if cluster is not None:
        require_libraries("search,ray")
        check_address(cluster.address)
    began, place = time.monotonic(), str(db)
    check_no_other_files(place)
    if not config.rebuild:
        check_files(place)
    opened, missing = _open_sources(sources, place, config.rebuild)
    with writer_lock(place), pillow_opens(config.max_pixels):
        work = SplitSources(opened) if cluster is None else split_shards(opened)
        listings = list_all(work.loose, [*missing, *work.missing])
        store = _open_database(place, About.of(encoder, model_name), work, listings, config.rebuild)
        plan = make_plan(listings, store)
        at_once = ROWS_PER_WRITE if cluster else None
        outcomes = Outcomes(store, keep_gone=config.keep_deleted, rows_at_once=at_once)
        decoding = Decoding(encoder.preprocess.pixels, config.thumbnail, config.max_pixels)
        started = time.monotonic()
        if cluster is None:
            LocalRun(store, outcomes, encoder, decoding, config, on_progress).embed_all(plan)
        else:
            size = config.batch_size
            run = ClusterRun(store, outcomes, encoder, decoding, cluster, size, on_progress)
            run.embed_all(plan, work)
        reading = time.monotonic() - started
        outcomes.delete_gone()
        store.compact()
        quality = ensure_index(store, encoder, on_progress)
        keep_checksums(place, anew=config.rebuild)
        return outcomes.report(
            total=len(store), seconds=time.monotonic() - began, reading=reading, quality=quality
        )


def forget(source: str, db: str | Path) -> int:
    """Remove all that was indexed from a source, and return how many images that were.

    Raises:
        SearchError: where nothing was indexed from it; says what the sources are.
    """
    place = str(db)
    check_files(place)
    store = Store.open(place)
    with writer_lock(place):
        known = store.sources()
        whole = source.rstrip("/") if is_url(source) else os.path.abspath(source)
        forms = (*unicode_forms(source), *unicode_forms(whole))
        name = next((form for form in forms if form in known), None)
        if name is None:
            raise SearchError(
                f"nothing in {place} comes from {source}, only from {', '.join(known)}"
            )
        before = len(store)
        store.forget(name)
        store.compact()
        keep_checksums(place)
        return before - len(store)


def _open_sources(
    places: Sequence[str | Path], db: str, rebuild: bool
) -> tuple[list[ImageSource], list[Unusable]]:
    """Open what is to be indexed; the second list is what is not there any more.

    Nothing is written yet.
    """
    before = _sources_before(db, rebuild=rebuild, named=bool(places))
    without = None if is_url(db) else db
    opened = [open_image_source(place, without=without) for place in places]
    missing = []
    for name in before if rebuild or not places else ():
        try:
            opened.append(open_image_source(name, without=without))
        except SearchError as error:
            missing.append(Unusable(name, str(error)))
    # Of two with one name the later one stays: it alone knows of what it is asked for now.
    return list({source.name: source for source in reversed(opened)}.values())[::-1], missing


def _sources_before(db: str, *, rebuild: bool, named: bool) -> Sequence[str]:
    """Return what a database was made from.

    Args:
        db: which is allowed to be damaged where it is to be made anew.
        rebuild: whether it is.
        named: sources are given, which will do where others are not known.
    """
    origin = read_origin(db) if rebuild else None
    try:
        # Without a table, what made it anew may have been killed.
        if origin is not None and not Store.exists(db):
            return origin.sources
        return Store.open(db).sources() if Store.exists(db) or not named else []
    except UnreadableError as error:
        if origin is not None:
            return origin.sources
        if rebuild and named:
            return []
        if not rebuild:
            raise
        raise SearchError(
            f"{error}. What it was made from is not noted there, so name all its sources and its "
            f"model: longclip index SOURCES --db {db} --model MODEL --rebuild"
        ) from error


def _check_all_there(listings: Listings, place: str) -> None:
    """Refuse to rebuild a database from less than it holds.

    Raises:
        SearchError: names what cannot be read now.
    """
    before = _sources_before(place, rebuild=True, named=True)
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
        if _holds_any(place, part.prefix)
    ]
    if listings.unusable or empty or hidden:
        lacking = ", ".join([*(each.uri for each in listings.unusable), *empty, *hidden])
        raise SearchError(
            f"{lacking} cannot be read now and would be lost; connect the disk, or --forget it "
            "first. Nothing was changed"
        )


def _holds_any(place: str, prefix: str) -> bool:
    """Return whether a database holds images whose `uri` begins so; a damaged one holds none."""
    try:
        return Store.open(place).count(f"starts_with(uri, {quoted(prefix)})") > 0
    except UnreadableError:
        return False


def _open_database(
    place: str, given: About, work: SplitSources, listings: Listings, rebuild: bool
) -> Store:
    """Open or make the database, which knows its sources before there is anything in it.

    So an indexing that is stopped is taken up again without naming them.
    """
    if rebuild and Store.exists(place):
        _check_all_there(listings, place)
    sources = [source.name for source, _ in listings.whole]
    sources += dict.fromkeys(shard.source for shard in work.shards)
    if work.missing and not sources:
        raise SearchError("; ".join(each.reason for each in work.missing))
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


class LocalRun:
    """Reads, embeds and writes the images of a plan in this process.

    Args:
        store: where rows go.
        outcomes: what has become of each image.
        encoder: whose embeddings are kept.
        decoding: how images are decoded.
        config: images per forward pass, and threads that read.
        on_progress: called with the images done.
    """

    def __init__(
        self,
        store: Store,
        outcomes: Outcomes,
        encoder: ModelEncoder,
        decoding: Decoding,
        config: IndexConfig,
        on_progress: OnProgress,
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._encoder = encoder
        self._decoding = decoding
        self._config = config
        self._on_progress = on_progress
        self._batch: list[NewImage] = []

    def embed_all(self, plan: IndexPlan) -> None:
        """Read, embed and write; where it is interrupted, what is embedded is still written."""
        self._outcomes.begin(plan)
        tasks, total, images_done = plan.tasks, len(plan.tasks), 0
        scanned = self._store.scan(["sha256"]) if tasks else ()
        hashes = {hash_key(each) for batch in scanned for each in batch["sha256"].to_pylist()}
        loader = ImageLoader(self._decoding, hashes)
        size, workers = self._config.batch_size, self._config.workers
        self._report_progress(images_done, total)
        while tasks:
            loaded = load_all(loader, tasks, ahead=2 * size, workers=workers)
            try:
                with closing(loaded):
                    for image in loaded:
                        if isinstance(image, NewImage):
                            self._batch.append(image)
                            if len(self._batch) >= size:
                                self._embed_batch()
                        else:
                            self._outcomes.take(image)
                        if self._outcomes.is_due():
                            self._outcomes.write()
                        images_done += 1
                        if images_done % size == 0 or images_done == total:
                            self._report_progress(images_done, total)
                    self._embed_batch()
            except KeyboardInterrupt:
                self._outcomes.write()
                raise
            self._outcomes.write()
            tasks = self._copies_without_original(loader)

    def _embed_batch(self) -> None:
        if not self._batch:
            return
        pixels = np.stack([image.pixels for image in self._batch])
        vectors = unit(self._encoder.embed_pixels(pixels))
        for image, vector in zip(self._batch, vectors, strict=True):
            self._outcomes.add(image.task, ImageRow(image.facts, vector, image.thumbnail))
        self._batch = []

    def _copies_without_original(self, loader: ImageLoader) -> list[ImageTask]:
        """Return copies of images whose rows have been overwritten since, to be embedded."""
        copies = self._outcomes.without_original()
        for copy in copies:
            if copy.sha256 in loader.broken:
                broken = loader.broken[copy.sha256]
                self._outcomes.take(replace(broken, uri=copy.task.item.uri))
        whole = [copy for copy in copies if copy.sha256 not in loader.broken]
        loader.forget(copy.sha256 for copy in whole)
        return [copy.task for copy in whole]

    def _report_progress(self, images_done: int, total: int) -> None:
        unusable = len(self._outcomes.unusable)
        note = f"{unusable:,} cannot be used" if unusable else ""
        self._on_progress(STAGE, images_done, total, note)
