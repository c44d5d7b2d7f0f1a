"""Run of a plan on a Ray cluster: work is handed out, and what comes back is written here.

One process writes, as without a cluster: workers only send rows. So commits are few and large, the
lock of the database holds, and a worker that dies or does its work twice leaves nothing behind.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longclip.data.storage import is_url
from longclip.encoders.model_encoder import ModelEncoder
from longclip.errors import EncoderError, SearchError
from longclip.search.config import Cluster
from longclip.search.database.schema import ImageRow
from longclip.search.database.shard_table import IndexedShard, ShardTable
from longclip.search.database.store import Store
from longclip.search.indexing.cluster.ray_session import ray_session
from longclip.search.indexing.cluster.worker_stages import (
    MESSAGE,
    VECTOR,
    ImageLoaded,
    Message,
    ShardOpened,
    ShardUnreadable,
    Snapshot,
    Work,
    build_pipeline,
    chunks,
)
from longclip.search.indexing.image_loader import Decoding, NewImage
from longclip.search.indexing.index_plan import (
    IndexPlan,
    PendingShard,
    SplitSources,
    vanished,
    without_shards,
)
from longclip.search.indexing.outcomes import STAGE, Outcomes
from longclip.search.sources.image_source import Unusable
from longclip.util.terminal import OnProgress

ROWS_PER_WRITE = 4096
"""Rows in one piece: a cluster makes them faster than small pieces could be written."""
_RAY_SUFFIX = "\nFailed to apply UDF"
"""What Ray Data writes behind the message of an error on a worker."""


@dataclass
class _ShardProgress:
    """Count of what has come back of a shard."""

    shard: PendingShard
    found: int = 0
    tasks: int | None = None
    loaded: int = 0
    gone: int = 0
    unusable: list[Unusable] = field(default_factory=list)
    is_whole: bool = True

    @property
    def is_complete(self) -> bool:
        # Images may come before the shard's own message: workers keep no order.
        return self.loaded == self.tasks

    def record(self) -> IndexedShard | None:
        """Return its row for the table of shards; None where opening it again may give more."""
        shard = self.shard
        is_settled = self.is_whole and all(each.lasting for each in self.unusable)
        if not shard.stamp or self.gone or not is_settled:
            return None
        images = self.found - len(self.unusable)
        return IndexedShard(shard.place, shard.source, shard.stamp, images, tuple(self.unusable))


class ClusterRun:
    """Reads and embeds the images of a plan on a cluster, and writes what comes back.

    Args:
        store: where rows go; workers open it too, to see what is there.
        outcomes: what has become of each image.
        encoder: sent to all processes that embed.
        decoding: how images are decoded.
        cluster: where the work is done.
        batch_size: images per forward pass.
        on_progress: called with the images done.
    """

    def __init__(
        self,
        store: Store,
        outcomes: Outcomes,
        encoder: ModelEncoder,
        decoding: Decoding,
        cluster: Cluster,
        batch_size: int,
        on_progress: OnProgress,
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._encoder = encoder
        self._decoding = decoding
        self._cluster = cluster
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._shard_table = ShardTable(store.place)
        self._unfinished: dict[int, _ShardProgress] = {}
        self._unrecorded: list[_ShardProgress] = []
        self._shards = self._images = self._images_done = 0

    def embed_all(self, plan: IndexPlan, split: SplitSources) -> None:
        """Read, embed and write; where it is interrupted, what is embedded is still written."""
        self._outcomes.begin(without_shards(plan, split.sharded))
        shards = self._changed_shards(split)
        self._unfinished = {shard.number: _ShardProgress(shard) for shard in shards}
        self._images, self._shards = len(plan.tasks), len(shards)
        work: list[Work] = [*shards, *chunks(plan.tasks, self._cluster.images_per_task)]
        self._report_progress()
        if not work:
            return
        with ray_session(self._cluster) as ray:
            held = ray.put(self._encoder.to("cpu"))
            while work:
                try:
                    self._run_pipeline(ray, held, work)
                except ray.exceptions.RayTaskError as error:
                    # A user's mistake that a worker has found is shown without Ray's workings.
                    for kind in (SearchError, EncoderError):
                        if isinstance(error.cause, kind):
                            raise kind(str(error.cause).partition(_RAY_SUFFIX)[0]) from error
                    raise
                finally:
                    self._write()
                # Copies whose original has been overwritten since; their shards are not finished.
                copies = [copy.task for copy in self._outcomes.without_original()]
                if copies:
                    self._unrecorded = []
                work = list(chunks(copies, self._cluster.images_per_task, again=True))
        self._shard_table.tidy()

    def _changed_shards(self, split: SplitSources) -> list[PendingShard]:
        """Return the shards to open; the others are as they were when they were indexed whole."""
        indexed: dict[str, IndexedShard] = {}
        for source, places in split.sharded.items():
            known = self._shard_table.indexed(source)
            self._outcomes.take_gone(vanished(self._store, source, places, known))
            indexed |= known
        changed = []
        for shard in split.shards:
            before = indexed.get(shard.place)
            if before and shard.stamp and before.stamp == shard.stamp:
                self._outcomes.skip(before.images, before.unusable)
            else:
                changed.append(shard)
        return changed

    def _run_pipeline(self, ray: Any, held: Any, work: Sequence[Work]) -> None:
        place = self._store.place
        data = build_pipeline(
            ray,
            work,
            # Workers need not have this process's working directory.
            table=Snapshot(
                place if is_url(place) else os.path.abspath(place), self._store.version()
            ),
            encoder=self._encoder,
            held=held,
            decoding=self._decoding,
            cluster=self._cluster,
            batch_size=self._batch_size,
        )
        for batch in data.iter_batches(batch_size=None, batch_format="numpy"):
            for message, vector in zip(batch[MESSAGE], batch[VECTOR], strict=True):
                self._receive(message, vector)
            if self._outcomes.is_due():
                self._write()
            self._report_progress()

    def _receive(self, message: Message, vector: Any) -> None:
        outcomes = self._outcomes
        match message:
            case ShardUnreadable(number, unusable):
                outcomes.unread.append(unusable)
                outcomes.notes.append(
                    f"{unusable.uri} could not be read; what is known of it is kept"
                )
                self._unfinished.pop(number)
            case ShardOpened(number, plan, tasks):
                outcomes.begin(plan)
                self._images += tasks
                progress = self._unfinished[number]
                progress.found, progress.tasks = plan.found, tasks
                progress.unusable += plan.unusable
                progress.is_whole = not plan.unread and not plan.links
                # They are deleted at the end, if they are not to be kept.
                progress.gone = len(plan.gone)
                self._finish_if_complete(number)
            case ImageLoaded(number, image):
                self._images_done += 1
                if isinstance(image, NewImage):
                    outcomes.add(image.task, ImageRow(image.facts, vector, image.thumbnail))
                else:
                    outcomes.take(image)
                if number is not None:
                    progress = self._unfinished[number]
                    progress.loaded += 1
                    if isinstance(image, Unusable):
                        progress.unusable.append(image)
                    self._finish_if_complete(number)

    def _finish_if_complete(self, number: int) -> None:
        if self._unfinished[number].is_complete:
            self._unrecorded.append(self._unfinished.pop(number))

    def _write(self) -> None:
        """Write rows, and then the shards that are whole with them."""
        self._outcomes.write()
        if not self._outcomes.waits():
            records = (progress.record() for progress in self._unrecorded)
            self._shard_table.put([record for record in records if record is not None])
            self._unrecorded = []

    def _report_progress(self) -> None:
        unfinished, unusable = len(self._unfinished), len(self._outcomes.unusable)
        parts = [f"{unfinished:,} of {self._shards:,} shards left"] if unfinished else []
        parts += [f"{unusable:,} cannot be used"] if unusable else []
        # Images of a shard may overtake the number of them.
        total = max(self._images_done, self._images)
        self._on_progress(STAGE, self._images_done, total, ", ".join(parts))
