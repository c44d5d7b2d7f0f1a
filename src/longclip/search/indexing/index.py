"""Indexing from end to end: images are found, decoded, embedded and written."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longclip.data.storage import is_url
from longclip.errors import SearchError
from longclip.model import CLIP
from longclip.search.config import IndexConfig
from longclip.search.database.store import Store
from longclip.search.database.vector_index import ensure_index
from longclip.search.indexing.cluster.cluster_run import ROWS_PER_WRITE, ClusterRun
from longclip.search.indexing.cluster.config import Cluster
from longclip.search.indexing.cluster.ray_session import check_address
from longclip.search.indexing.cluster.work import SplitSources, split_shards
from longclip.search.indexing.image_loader import Decoding, ImageLoader, hash_key, pillow_opens
from longclip.search.indexing.index_plan import (
    IndexPlan,
    check_all_there,
    list_sources,
    make_plan,
    open_database,
    open_sources,
)
from longclip.search.indexing.index_report import IndexReport
from longclip.search.indexing.local_run import LocalRun
from longclip.search.indexing.outcomes import Outcomes
from longclip.search.locking import writing
from longclip.util.libraries import require_libraries
from longclip.util.progress import SILENT, OnProgress


def index(
    sources: Sequence[str | Path],
    db: str | Path,
    model: CLIP,
    config: IndexConfig | None = None,
    *,
    model_name: str,
    cluster: Cluster | None = None,
    on_progress: OnProgress = SILENT,
    **options: Any,
) -> IndexReport:
    """Bring a database up to date with its sources.

    What was embedded is written at least every 10 seconds in one piece: killed at any moment, it
    goes on there when it is run again.

    Args:
        sources: see `longclip.search.open_source`. Without any, those that were indexed before.
        db: directory or URL of object storage; made where it is not there.
        model: whose embeddings are kept.
        config: how it is done. `max_bad_fraction` is for the caller: the report counts what
            could not be used.
        model_name: what opens it again: a directory, the name of one on the hub.
        cluster: read and embed with Ray Data; `workers` is not looked at then.
        on_progress: told decoding far it is.
        options: fields of `config` by name, which replace those.

    Raises:
        UsageError: where an option is out of its bounds.
        SearchError: where no source can be read, another process writes to the database, it was
            made by another model, or it cannot be written.
    """
    config = replace(config or IndexConfig(), **options)
    if cluster is not None:
        require_libraries("search,ray")
        check_address(cluster.address)
    began = time.monotonic()
    place = str(db)
    opened, missing = open_sources(sources, place, config.rebuild)
    with writing(place), pillow_opens(config.max_pixels):
        work = SplitSources(opened) if cluster is None else split_shards(opened)
        listings = list_sources(work.loose, [*missing, *work.missing])
        if config.rebuild and Store.exists(place):
            check_all_there(listings, Store.open(place))
        names = [source.name for source, _ in listings.whole]
        names += dict.fromkeys(shard.source for shard in work.shards)
        if work.missing and not names:
            raise SearchError("; ".join(bad.reason for bad in work.missing))
        store = open_database(place, model, model_name, config.rebuild, names)
        plan = make_plan(listings, store)
        at_once = ROWS_PER_WRITE if cluster else None
        outcomes = Outcomes(store, keep_gone=config.keep_deleted, rows_at_once=at_once)
        decoding = Decoding(model.preprocess.pixels, config.thumbnail, config.max_pixels)
        started = time.monotonic()
        if cluster is None:
            outcomes.begin(plan)
            loader = ImageLoader(decoding, _hashes(store, plan))
            LocalRun(outcomes, model, config.batch_size, on_progress).embed_all(
                plan.tasks, loader, config.workers
            )
        else:
            run = ClusterRun(
                store, outcomes, model, decoding, cluster, config.batch_size, on_progress
            )
            run.embed_all(plan, work)
        reading = time.monotonic() - started
        outcomes.delete_gone()
        store.compact()
        quality = ensure_index(store, model, on_progress)
        return outcomes.report(
            total=len(store), seconds=time.monotonic() - began, reading=reading, quality=quality
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
        whole = source.rstrip("/") if is_url(source) else os.path.abspath(source)
        name = source if source in known else whole
        if name not in known:
            raise SearchError(
                f"nothing in {place} comes from {source}, only from {', '.join(known)}"
            )
        before = len(store)
        store.forget(name)
        store.compact()
        return before - len(store)


def _hashes(store: Store, plan: IndexPlan) -> set[bytes]:
    if not plan.tasks:
        return set()
    return {
        hash_key(sha256)
        for batch in store.scan(["sha256"])
        for sha256 in batch.column(0).to_pylist()
    }
