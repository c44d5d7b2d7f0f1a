"""The images of a plan read, embedded and written, and what has become of each."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from longclip._progress import OnProgress
from longclip.model import CLIP
from longclip.search.errors import SearchError
from longclip.search.loading import Fresh, Loader, Same, load_all
from longclip.search.planning import Bad, Plan, Task
from longclip.search.rows import Row
from longclip.search.sources.item import folder_and_name
from longclip.search.store import Known, Store

STAGE = "images"
_ROWS_PER_WRITE = 512
_SECONDS_PER_WRITE = 10.0


class Run:
    """What happens to the tasks of a plan, and what has become of them."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        model: CLIP,
        batch_size: int,
        on_progress: OnProgress | None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.bad: list[Bad] = []
        self._store = store
        self._plan = plan
        self._encode = _encoder(model)
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._batch: list[Fresh] = []
        self._rows: list[tuple[Task, Row]] = []
        self._same: list[Same] = []
        self._written = time.monotonic()
        self._taken = 0
        self._gone_with = _by_hash(plan.gone)

    def embed_all(self, loader: Loader, workers: int | None) -> None:
        """Read, embed and write; where it is interrupted, what is embedded is still written."""
        tasks = self._plan.tasks
        self._tell(0)
        while tasks:
            loaded = load_all(loader, tasks, ahead=2 * self._batch_size, workers=workers)
            try:
                with closing(loaded):
                    for image in loaded:
                        self._take(image)
                    self._embed()
            except KeyboardInterrupt:
                self._write()
                raise
            self._write()
            tasks = self._left(loader)
        self.bad.sort(key=lambda bad: bad.uri)

    def delete_gone(self) -> None:
        """Forget what is not there any more."""
        self._store.delete(list(self._plan.gone))

    def _left(self, loader: Loader) -> list[Task]:
        """Copies of images whose rows have been overwritten since; they are to be embedded."""
        left, self._same = self._same, []
        broken = [same for same in left if same.sha256 in loader.broken]
        self.bad += (Bad(same.task.item.uri, loader.broken[same.sha256]) for same in broken)
        whole = [same for same in left if same.sha256 not in loader.broken]
        loader.forget(same.sha256 for same in whole)
        return [same.task for same in whole]

    def _take(self, image: Fresh | Same | Bad) -> None:
        if isinstance(image, Bad):
            self.bad.append(image)
        elif isinstance(image, Same):
            self._same.append(image)
        else:
            self._batch.append(image)
            if len(self._batch) >= self._batch_size:
                self._embed()
        full = len(self._rows) + len(self._same) >= _ROWS_PER_WRITE
        if full or time.monotonic() - self._written > _SECONDS_PER_WRITE:
            self._write()
        self._taken += 1
        if self._taken % self._batch_size == 0 or self._taken == len(self._plan.tasks):
            self._tell(self._taken)

    def _embed(self) -> None:
        if not self._batch:
            return
        vectors = self._encode([image.pixels for image in self._batch])
        for image, vector in zip(self._batch, vectors, strict=True):
            self._rows.append((image.task, Row(image.facts, vector, image.thumbnail)))
        self.counts["embedded"] += len(self._batch)
        self._batch = []

    def _write(self) -> None:
        self._put(self._rows)
        for task, _ in self._rows:
            self.counts["changed" if task.before else "added"] += 1
        self._rows = []
        originals = self._store.originals(list({same.sha256 for same in self._same}))
        copies = [
            (same, _copy(same, originals[same.sha256]))
            for same in self._same
            if same.sha256 in originals
        ]
        self._put([(same.task, row) for same, row in copies])
        for same, _ in copies:
            self._count(same)
        # The others are copies of what is still in a batch.
        self._same = [same for same in self._same if same.sha256 not in originals]
        self._written = time.monotonic()

    def _put(self, rows: Sequence[tuple[Task, Row]]) -> None:
        for start in range(0, len(rows), _ROWS_PER_WRITE):
            self._store.put([row for _, row in rows[start : start + _ROWS_PER_WRITE]])

    def _count(self, same: Same) -> None:
        before = same.task.before
        if before and before.sha256 == same.sha256:
            self.counts["unchanged"] += 1
        elif before is None and self._gone_with[same.sha256]:
            self._gone_with[same.sha256] -= 1
            self.counts["moved"] += 1
        else:
            self.counts["changed" if before else "added"] += 1
            self.counts["duplicates"] += 1

    def _tell(self, done: int) -> None:
        if self._on_progress:
            note = f"{len(self.bad):,} cannot be used" if self.bad else ""
            self._on_progress(STAGE, done, len(self._plan.tasks), note)


def _copy(same: Same, original: Row) -> Row:
    """The row of an image with the content of another one."""
    item, before = same.task.item, same.task.before
    folder, name = folder_and_name(item.uri)
    facts = replace(
        original.facts,
        uri=item.uri,
        source=before.source if before else same.task.source.name,
        folder=folder,
        name=name,
        bytes=same.bytes,
        mtime_ns=item.mtime_ns,
        caption=same.caption,
    )
    return Row(facts, original.vector, original.thumbnail)


def _by_hash(gone: Mapping[str, Known]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for known in gone.values():
        found[known.sha256] += 1
    return found


def _encoder(model: CLIP) -> Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]:
    """uint8 [N][H, W, 3] to float32 [N, D] of length one."""

    def encode(pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        if model.device.type == "cuda":
            images = images.pin_memory().to(model.device, non_blocking=True)
        images = model.preprocess.normalize(images.to(model.device))
        vectors = model.encode_image(images, normalize=True, batch_size=len(pixels)).cpu()
        if not vectors.isfinite().all():
            raise SearchError("the model gives embeddings that are not finite; is it damaged?")
        return vectors.numpy()

    return encode
