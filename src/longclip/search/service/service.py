"""The service that all routes share: a database, a model, and the thread that embeds."""

import asyncio
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio.to_thread
import numpy as np
from anyio import CapacityLimiter
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from longclip.checkpoints.model_names import is_hub_id
from longclip.search.database.lance import reason
from longclip.search.database.schema import About
from longclip.search.query.searcher import Searcher
from longclip.search.service.batching import Batcher
from longclip.search.service.config import ServeConfig
from longclip.search.service.embedder import Embedder, Input, RecentEmbeddings
from longclip.search.service.metrics import Metrics
from longclip.search.service.request_limits import UNREADABLE, Admission, PixelBudget, RequestError

P = ParamSpec("P")
T = TypeVar("T")

MAX_UPLOAD_PIXELS = 50_000_000
"""Pixels of a picture that a client sends, and of all that are decoded at a time: some 15 bytes for
each pixel, at worst."""

_MAX_WAITING_PIXELS = 4 * MAX_UPLOAD_PIXELS
"""Pixels of pictures that wait to be decoded: some ten seconds of work."""

_MAX_DECODERS = 16
"""Threads that decode, tokenize and read requests; what they hold is bounded by their pixels."""

_MAX_BATCHES = 4
"""Batches that are embedded at a time, on many processors."""

_MAX_ANSWERERS = 8
"""Searches of the database at the same time. It uses all processors for each; of more, none is
answered sooner, and each has its rows in memory."""

_MAX_READERS = 16
"""Originals read at the same time; where storage is slow they wait long and cost little."""

_MAX_ROWS_SCANNED = 10_000
_MAX_EXAMPLE_FOLDERS = 20

_log = logging.getLogger("longclip.serve")


class Service:
    """A database and its model in service; made once per application."""

    def __init__(self, searcher: Searcher, config: ServeConfig) -> None:
        self.searcher = searcher
        self.store = searcher.store
        # What a client no longer waits for must not go on.
        self.store.max_seconds = config.timeout
        self.config = config
        self.model_name = public_name(searcher.store.about.model)
        self.started = int(time.time())
        self.embedder = Embedder(searcher.encoder)
        self.metrics = Metrics()
        self.batcher: Batcher[Input] = Batcher(
            self.embedder,
            self.embedder.cost,
            batch_tokens=config.batch_tokens or searcher.encoder.batch_tokens,
            wait=config.batch_wait,
            workers=min(searcher.encoder.processors, _MAX_BATCHES),
            on_start=searcher.encoder.share_processors,
            on_batch=self.metrics.batch_done,
        )
        most = RecentEmbeddings.most(searcher.store.about.width)
        self.embed_cached = RecentEmbeddings(self.embed, most)
        self.admission = Admission(config.max_requests, self.batcher.expected_wait, config.timeout)
        # Python runs one at a time anyway; of several waiting, the thread that embeds would get its
        # turn as seldom, and what waits would be thought to take as long.
        self.tokenizing = threading.Lock()
        self.pixel_budget = PixelBudget(MAX_UPLOAD_PIXELS, _MAX_WAITING_PIXELS)
        self._decoders = CapacityLimiter(_MAX_DECODERS)
        self._answerers = CapacityLimiter(_MAX_ANSWERERS)
        self._readers = CapacityLimiter(_MAX_READERS)
        self._trouble = ""
        self._folders: list[str] | None = None
        self._version: int | None = None
        gauge = self.metrics.gauge
        gauge("images", "Images in the database.", self._count_images)
        gauge("requests_under_way", "Requests that hold a place.", lambda: self.admission.taken)
        gauge(
            "queue_requests",
            "Requests that wait for the model.",
            lambda: self.batcher.waiting_requests,
        )
        gauge(
            "queue_tokens", "Tokens that wait for the model.", lambda: self.batcher.waiting_tokens
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Embed and follow what is indexed; at the end, finish what has been accepted."""
        self.batcher.start()
        watching = asyncio.create_task(self._keep_fresh())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await run_in_threadpool(self.batcher.close)

    async def embed(self, items: Sequence[Input]) -> NDArray[np.float32]:
        """Embed to float32 [len(items), D], of length one; cancelling this takes them out again."""
        return await asyncio.wrap_future(self.batcher.submit(items))

    async def decoding(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that may decode images, in one of few threads."""
        call = partial(function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._decoders)

    async def answering(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that searches the database, in one of few threads."""
        call = partial(function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._answerers)

    async def reading(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that waits for storage, in threads of its own."""
        call = partial(function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._readers)

    def check_ready(self) -> None:
        """Raise RequestError where searches cannot be answered."""
        trouble = self._trouble
        if not self.batcher.alive:
            trouble = "the service is starting or shutting down"
        if trouble:
            raise RequestError(503, trouble, headers={"Retry-After": "5"})

    def example_folders(self) -> list[str]:
        """Return some folders with many images, as suggestions for filters."""
        if self._folders is None:
            folders: Counter[str] = Counter()
            for batch in self.store.scan(["folder"], limit=_MAX_ROWS_SCANNED):
                folders.update(batch.column(0).to_pylist())
            self._folders = sorted(
                folder for folder, _ in folders.most_common(_MAX_EXAMPLE_FOLDERS)
            )
        return self._folders

    async def _keep_fresh(self) -> None:
        """Look every few seconds at what has been indexed by others."""
        while True:
            await asyncio.sleep(self.config.refresh)
            try:
                trouble = cause = await run_in_threadpool(self._refresh)
            except Exception as error:  # storage fails in its own ways, and may come back
                # Anybody may ask whether we are ready, so no place is named there.
                trouble, cause = UNREADABLE, reason(error)
                self._version = None
            if trouble and trouble != self._trouble:
                _log.error("%s: %s", self.store.place, cause)
            self._trouble = trouble

    def _refresh(self) -> str:
        """Return what is wrong with the database now; raises whatever storage raises."""
        self.store.refresh()
        version = self.store.table.version
        if version == self._version:
            return self._trouble
        about = About.read(self.store.table.schema.metadata, self.store.place)
        self._version, self._folders = version, None
        if about.digest != self.store.about.digest:
            return (
                "the database has been indexed again with another model, "
                f"{public_name(about.model)}; restart longclip serve"
            )
        return ""

    def _count_images(self) -> float:
        try:
            return len(self.store)
        except Exception:  # storage fails in its own ways; the other numbers are known
            return math.nan


def public_name(model: str) -> str:
    """Return a hub name as it is, and of a path only the last part, as clients see the name.

    Args:
        model: what a database was indexed with, see `About.model`.
    """
    if is_hub_id(model) and not Path(model).exists():
        return model
    return Path(model).name or model
