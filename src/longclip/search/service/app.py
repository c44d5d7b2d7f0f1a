"""The application: routes, the page, and what surrounds them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from longclip import __version__
from longclip.search.query.searcher import Searcher
from longclip.search.service.config import ServeConfig
from longclip.search.service.images import images_router
from longclip.search.service.metrics import Measured
from longclip.search.service.openai_api import openai_router
from longclip.search.service.page import render_page
from longclip.search.service.request_errors import add_error_handlers
from longclip.search.service.request_limits import Limits
from longclip.search.service.search_api import search_router
from longclip.search.service.security import Security, page_policy
from longclip.search.service.service import Service


def create_app(searcher: Searcher, config: ServeConfig | None = None) -> FastAPI:
    """Make the service, as an ASGI application.

    Embedding begins with its lifespan, and what has been accepted is finished when that ends.

    Args:
        searcher: a database and its model.
        config: how to listen and whom to let in; the defaults serve this machine.
    """
    config = config or ServeConfig()
    service = Service(searcher, config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        watching = asyncio.create_task(service.keep_fresh())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await run_in_threadpool(service.batcher.close)

    # The usual pages of documentation load scripts from elsewhere.
    app = FastAPI(
        title="longclip", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.service = service
    app.include_router(search_router(service))
    app.include_router(openai_router(service))
    app.include_router(images_router(service))
    _add_page(app)
    _add_health(app, service)
    add_error_handlers(app)
    # The last one added sees a request first.
    app.add_middleware(Limits, max_bytes=config.max_bytes, seconds=config.timeout)
    app.add_middleware(Security, token=config.token)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        headers = {"content-security-policy": page_policy(nonce)}
        return HTMLResponse(render_page(nonce), headers=headers)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether searches can be answered")
    async def ready() -> dict[str, str]:
        service.check_ready()
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        text = generate_latest(service.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)
