"""The images of a plan read, embedded and written by this process."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from longclip._progress import OnProgress
from longclip.model import CLIP
from longclip.search.database.schema import Row
from longclip.search.indexing.encoding import encode_pixels
from longclip.search.indexing.image_loader import Fresh, Loader, Same, load_all
from longclip.search.indexing.index_plan import Task
from longclip.search.indexing.outcomes import STAGE, Outcomes
from longclip.search.sources.image_source import Bad


class Run:
    """What happens to the tasks of a plan."""

    def __init__(
        self,
        outcomes: Outcomes,
        model: CLIP,
        batch_size: int,
        on_progress: OnProgress,
    ) -> None:
        self._outcomes = outcomes
        self._model = model
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._batch: list[Fresh] = []
        self._taken = 0

    def embed_all(self, tasks: Sequence[Task], loader: Loader, workers: int | None) -> None:
        """Read, embed and write; where it is interrupted, what is embedded is still written."""
        total = len(tasks)
        self._tell(total)
        while tasks:
            loaded = load_all(loader, tasks, ahead=2 * self._batch_size, workers=workers)
            try:
                with closing(loaded):
                    for image in loaded:
                        self._take(image, total)
                    self._embed()
            except KeyboardInterrupt:
                self._outcomes.write()
                raise
            self._outcomes.write()
            tasks = self._left(loader)

    def _left(self, loader: Loader) -> list[Task]:
        """Copies of images whose rows have been overwritten since; they are to be embedded."""
        left = self._outcomes.without_original()
        for same in left:
            if same.sha256 in loader.broken:
                bad = loader.broken[same.sha256]
                self._outcomes.fail(replace(bad, uri=same.task.item.uri))
        whole = [same for same in left if same.sha256 not in loader.broken]
        loader.forget(same.sha256 for same in whole)
        return [same.task for same in whole]

    def _take(self, image: Fresh | Same | Bad, total: int) -> None:
        if isinstance(image, Bad):
            self._outcomes.fail(image)
        elif isinstance(image, Same):
            self._outcomes.same(image)
        else:
            self._batch.append(image)
            if len(self._batch) >= self._batch_size:
                self._embed()
        if self._outcomes.is_due():
            self._outcomes.write()
        self._taken += 1
        if self._taken % self._batch_size == 0 or self._taken == total:
            self._tell(total)

    def _embed(self) -> None:
        if not self._batch:
            return
        vectors = encode_pixels(self._model, np.stack([image.pixels for image in self._batch]))
        for image, vector in zip(self._batch, vectors, strict=True):
            self._outcomes.add(image.task, Row(image.facts, vector, image.thumbnail))
        self._batch = []

    def _tell(self, total: int) -> None:
        bad = len(self._outcomes.bad)
        self._on_progress(STAGE, self._taken, total, f"{bad:,} cannot be used" if bad else "")
