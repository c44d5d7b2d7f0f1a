"""Counters and times for Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longclip.search.service.batching import BatchDone

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)


class Metrics:
    """Counters of one service; each has its own registry, so there may be several in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "longclip_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "longclip_request_seconds",
            "Time until a request was answered.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_items = Histogram(
            "longclip_batch_items",
            "Texts and images per batch.",
            buckets=_ITEMS,
            registry=self.registry,
        )
        self._batch_tokens = Histogram(
            "longclip_batch_tokens", "Tokens per batch.", buckets=_TOKENS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "longclip_batch_seconds",
            "Time in the model per batch.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def batch_done(self, batch: BatchDone) -> None:
        """Count a batch."""
        self._batch_items.observe(batch.items)
        self._batch_tokens.observe(batch.tokens)
        self._batch_seconds.observe(batch.seconds)

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Add a number that is computed when Prometheus asks."""
        Gauge(f"longclip_{name}", help, registry=self.registry).set_function(value)


class Measured:
    """Middleware: counts requests and their time."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it and its time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 499  # the client went before there was an answer
        started = time.perf_counter()

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_seen)
        except Exception:
            status = 500
            raise
        finally:
            # The pattern of the route, not the path: as many values as there are routes.
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(time.perf_counter() - started)
