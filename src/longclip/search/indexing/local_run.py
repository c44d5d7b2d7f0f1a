"""A plan carried out by this process: images are read, embedded and written."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from longclip.model import CLIP
from longclip.search.database.schema import ImageRow
from longclip.search.indexing.encoding import encode_pixels
from longclip.search.indexing.image_loader import ImageLoader, KnownImage, NewImage, load_all
from longclip.search.indexing.index_plan import ImageTask
from longclip.search.indexing.outcomes import STAGE, Outcomes
from longclip.search.sources.image_source import Unusable
from longclip.util.progress import OnProgress


class LocalRun:
    """Reads, embeds and writes the images of a plan.

    Args:
        outcomes: what has become of each image.
        model: whose embeddings are kept.
        batch_size: images per forward pass.
        on_progress: called with the images done.
    """

    def __init__(
        self, outcomes: Outcomes, model: CLIP, batch_size: int, on_progress: OnProgress
    ) -> None:
        self._outcomes = outcomes
        self._model = model
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._batch: list[NewImage] = []
        self._images_done = 0

    def embed_all(
        self, tasks: Sequence[ImageTask], loader: ImageLoader, workers: int | None
    ) -> None:
        """Read, embed and write; where it is interrupted, what is embedded is still written."""
        total = len(tasks)
        self._report_progress(total)
        while tasks:
            loaded = load_all(loader, tasks, ahead=2 * self._batch_size, workers=workers)
            try:
                with closing(loaded):
                    for image in loaded:
                        self._receive(image)
                        if self._images_done % self._batch_size == 0 or self._images_done == total:
                            self._report_progress(total)
                    self._embed_batch()
            except KeyboardInterrupt:
                self._outcomes.write()
                raise
            self._outcomes.write()
            tasks = self._copies_without_original(loader)

    def _receive(self, image: NewImage | KnownImage | Unusable) -> None:
        if isinstance(image, Unusable):
            self._outcomes.fail(image)
        elif isinstance(image, KnownImage):
            self._outcomes.same(image)
        else:
            self._batch.append(image)
            if len(self._batch) >= self._batch_size:
                self._embed_batch()
        if self._outcomes.is_due():
            self._outcomes.write()
        self._images_done += 1

    def _embed_batch(self) -> None:
        if not self._batch:
            return
        vectors = encode_pixels(self._model, np.stack([image.pixels for image in self._batch]))
        for image, vector in zip(self._batch, vectors, strict=True):
            self._outcomes.add(image.task, ImageRow(image.facts, vector, image.thumbnail))
        self._batch = []

    def _copies_without_original(self, loader: ImageLoader) -> list[ImageTask]:
        """Return copies of images whose rows have been overwritten since; they are embedded."""
        copies = self._outcomes.without_original()
        for copy in copies:
            if copy.sha256 in loader.broken:
                broken = loader.broken[copy.sha256]
                self._outcomes.fail(replace(broken, uri=copy.task.item.uri))
        whole = [copy for copy in copies if copy.sha256 not in loader.broken]
        loader.forget(copy.sha256 for copy in whole)
        return [copy.task for copy in whole]

    def _report_progress(self, total: int) -> None:
        bad = len(self._outcomes.bad)
        note = f"{bad:,} cannot be used" if bad else ""
        self._on_progress(STAGE, self._images_done, total, note)
