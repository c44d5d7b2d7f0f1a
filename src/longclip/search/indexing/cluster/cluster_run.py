"""A plan carried out by a cluster: work is handed out, and what comes back is written here.

One process writes, as without a cluster: workers only send rows. So commits are few and large, the
lock of the database holds, and a worker that dies or does its work twice leaves nothing behind.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from longclip._progress import OnProgress
from longclip.data.storage import is_url
from longclip.errors import SearchError
from longclip.model import CLIP
from longclip.search.database.schema import Row
from longclip.search.database.shard_table import DoneShard, ShardTable
from longclip.search.database.store import Store
from longclip.search.indexing.cluster.config import Cluster
from longclip.search.indexing.cluster.ray_session import ray_session
from longclip.search.indexing.cluster.stages import (
    TOLD,
    VECTOR,
    Batch,
    Encode,
    Snapshot,
    load,
    look_into,
)
from longclip.search.indexing.cluster.work import (
    Chunk,
    Opened,
    Shard,
    Split,
    Unreadable,
    chunks,
    vanished,
    without_shards,
)
from longclip.search.indexing.image_loader import Decoding, Fresh, Same
from longclip.search.indexing.index_plan import Plan, Task
from longclip.search.indexing.outcomes import STAGE, Outcomes
from longclip.search.sources.image_source import Bad

ROWS_AT_ONCE = 4096
"""Rows in one piece: a cluster makes them faster than small pieces could be written."""
_RAYS_OWN = "\nFailed to apply UDF"
"""What Ray Data writes behind the message of an error on a worker."""
_MOST_BLOCKS = 10_000
_LOOKING = 0.1
_DECODING_BESIDE = 0.125
_ENCODING = 0.75
"""Processors that a task is taken to need where the model runs on processors, too: it takes nearly
all the time, so there is one encoder for each, and what feeds them has to fit in beside."""


@dataclass
class _InHand:
    """How far a shard is."""

    shard: Shard
    found: int = 0
    expected: int = 0
    arrived: int = 0
    gone: int = 0
    bad: list[Bad] = field(default_factory=list)

    def done(self) -> DoneShard | None:
        """For the table of shards; None where looking into it again may give more."""
        if not self.shard.stamp or self.gone or not all(bad.lasting for bad in self.bad):
            return None
        shard, images = self.shard, self.found - len(self.bad)
        return DoneShard(shard.place, shard.source, shard.stamp, images, tuple(self.bad))


class ClusterRun:
    """What happens to images on a cluster, and how far their shards are.

    Args:
        store: where rows go; workers open it too, to see what is there.
        outcomes: what has become of each image.
        model: sent to all encoders.
        how: images are decoded.
        cluster: see there.
        batch_size: images per forward pass.
        on_progress: told how far it is.
    """

    def __init__(
        self,
        store: Store,
        outcomes: Outcomes,
        model: CLIP,
        how: Decoding,
        cluster: Cluster,
        batch_size: int,
        on_progress: OnProgress,
    ) -> None:
        self._store = store
        self._outcomes = outcomes
        self._model = model
        self._how = how
        self._cluster = cluster
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._table = ShardTable(store.place)
        self._in_hand: dict[int, _InHand] = {}
        self._complete: list[_InHand] = []
        self._done = self._total = self._shards = 0

    def embed_all(self, plan: Plan, split: Split) -> None:
        """Read, embed and write; where it is interrupted, what is embedded is still written."""
        self._outcomes.begin(without_shards(plan, split.sharded))
        shards = self._changed(split)
        self._in_hand = {shard.number: _InHand(shard) for shard in shards}
        self._total, self._shards = len(plan.tasks), len(shards)
        work: list[Shard | Chunk] = [*shards, *self._chunks(plan.tasks)]
        self._tell()
        if not work:
            return
        with ray_session(self._cluster) as ray:
            model = ray.put(self._model.to("cpu"))
            while work:
                try:
                    self._take_all(self._pipeline(ray, model, work))
                except ray.exceptions.RayTaskError as error:
                    # A user's mistake that a worker has found is told without Ray's workings.
                    if isinstance(error.cause, SearchError):
                        raise SearchError(str(error.cause).partition(_RAYS_OWN)[0]) from error
                    raise
                finally:
                    self._write()
                work = self._again()
        self._table.tidy()

    def _changed(self, split: Split) -> list[Shard]:
        """The shards to look into; the others are as they were when they were indexed whole."""
        done: dict[str, DoneShard] = {}
        for source, places in split.sharded.items():
            known = self._table.done(source)
            self._outcomes.take_gone(vanished(self._store, source, places, known))
            done |= known
        changed = []
        for shard in split.shards:
            before = done.get(shard.place)
            if before and shard.stamp and before.stamp == shard.stamp:
                self._outcomes.skip(before.images, before.bad)
            else:
                changed.append(shard)
        return changed

    def _again(self) -> list[Shard | Chunk]:
        """Copies of what has been overwritten meanwhile; their shards count as unfinished."""
        left = self._outcomes.without_original()
        if not left:
            return []
        self._complete = []
        tasks = [same.task for same in left]
        return list(chunks(tasks, self._cluster.images_per_task, again=True))

    def _chunks(self, tasks: Sequence[Task]) -> Iterable[Chunk]:
        return chunks(tasks, self._cluster.images_per_task)

    def _pipeline(self, ray: Any, model: Any, work: Sequence[Shard | Chunk]) -> Any:
        table = Snapshot(_absolute(self._store.place), self._store.version())
        size = self._cluster.images_per_task
        has = ray.cluster_resources()
        on_gpu = self._cluster.device != "cpu"
        encoders = self._cluster.encoders or int(has.get("GPU" if on_gpu else "CPU", 0))
        if not encoders:
            raise SearchError(
                f"the cluster has no {'GPU' if on_gpu else 'processor'}; add a machine that has"
            )
        needs = {"num_gpus": 1} if on_gpu else {"num_cpus": _ENCODING}
        data = ray.data.from_items(
            [{TOLD: each} for each in work], override_num_blocks=min(len(work), _MOST_BLOCKS)
        )
        data = data.flat_map(look_into, fn_args=(table, size), num_cpus=_LOOKING)
        # A block is what a task gets: without this, all of a shard would go to one.
        data = data.repartition(target_num_rows_per_block=1)
        data = data.map_batches(
            load,
            fn_args=(table, self._how, self._model.preprocess.image_size),
            batch_size=None,
            num_cpus=1 if on_gpu else _DECODING_BESIDE,
        )
        return data.map_batches(
            Encode,
            fn_constructor_args=(model, self._cluster.device),
            batch_size=self._batch_size,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=encoders),
            **needs,
        )

    def _take_all(self, data: Any) -> None:
        for batch in data.iter_batches(batch_size=None, batch_format="numpy"):
            self._take(batch)
            if self._outcomes.is_due():
                self._write()
            self._tell()

    def _take(self, batch: Batch) -> None:
        for told, vector in zip(batch[TOLD], batch[VECTOR], strict=True):
            if isinstance(told, Opened):
                self._open(told)
            elif isinstance(told, Unreadable):
                self._outcomes.fail(told.bad)
                self._outcomes.notes.append(
                    f"{told.bad.uri} could not be read; what is known of it is kept"
                )
                self._in_hand.pop(told.shard)
            else:
                number, image = told
                self._take_image(image, vector)
                if number is not None:
                    self._arrived(number, image)

    def _open(self, opened: Opened) -> None:
        self._outcomes.begin(opened.plan)
        self._total += opened.tasks
        in_hand = self._in_hand[opened.shard]
        in_hand.found, in_hand.expected = opened.plan.found, opened.tasks
        in_hand.bad += opened.plan.bad
        # They are deleted at the end, if they are not to be kept.
        in_hand.gone = len(opened.plan.gone)
        self._check(opened.shard)

    def _take_image(self, image: Fresh | Same | Bad, vector: Any) -> None:
        self._done += 1
        if isinstance(image, Bad):
            self._outcomes.fail(image)
        elif isinstance(image, Same):
            self._outcomes.same(image)
        else:
            self._outcomes.add(image.task, Row(image.facts, vector, image.thumbnail))

    def _arrived(self, number: int, image: Fresh | Same | Bad) -> None:
        in_hand = self._in_hand[number]
        in_hand.arrived += 1
        if isinstance(image, Bad):
            in_hand.bad.append(image)
        self._check(number)

    def _check(self, number: int) -> None:
        # Rows may come before what was found in their shard: workers keep no order.
        in_hand = self._in_hand[number]
        if in_hand.arrived == in_hand.expected:
            self._complete.append(self._in_hand.pop(number))

    def _write(self) -> None:
        self._outcomes.write()
        if not self._outcomes.waits():
            done = [in_hand.done() for in_hand in self._complete]
            self._table.put([shard for shard in done if shard is not None])
            self._complete = []

    def _tell(self) -> None:
        # What comes out of a shard may overtake the number of it.
        self._on_progress(STAGE, self._done, max(self._done, self._total), self._note())

    def _note(self) -> str:
        bad = len(self._outcomes.bad)
        parts = [f"{len(self._in_hand):,} of {self._shards:,} shards left"] if self._in_hand else []
        parts += [f"{bad:,} cannot be used"] if bad else []
        return ", ".join(parts)


def _absolute(place: str) -> str:
    """Workers need not be where this process is."""
    return place if is_url(place) else os.path.abspath(place)
