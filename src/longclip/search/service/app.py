"""The application: routes, the page, and what surrounds them."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from longclip import __version__
from longclip.errors import ImageError, SearchError, UnreadableError
from longclip.search.query.searcher import Searcher
from longclip.search.service.batching import Closed
from longclip.search.service.config import ServeConfig
from longclip.search.service.images import images_router
from longclip.search.service.metrics import Measured
from longclip.search.service.openai_api import openai_router
from longclip.search.service.page import render_page
from longclip.search.service.request_errors import RequestError
from longclip.search.service.request_limits import Limits
from longclip.search.service.search_api import search_router
from longclip.search.service.security import Security, page_policy
from longclip.search.service.service import UNREADABLE, Service

_LONGEST_PLACE = 100
"""Characters; clients make up names of fields, too."""

_log = logging.getLogger("longclip.serve")


def create_app(searcher: Searcher, config: ServeConfig | None = None) -> FastAPI:
    """The service, as an ASGI application.

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
    _add_errors(app)
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


def _add_errors(app: FastAPI) -> None:
    """All errors have the same shape; what is not the client's fault is said in the log alone."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return error.response

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> JSONResponse:
        return RequestError(error.status_code, str(error.detail), headers=error.headers).response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response

    async def unusable(_: Request, error: Exception) -> JSONResponse:
        return RequestError(400, str(error)).response

    app.add_exception_handler(SearchError, unusable)
    app.add_exception_handler(ImageError, unusable)

    @app.exception_handler(UnreadableError)
    async def unreadable(_: Request, error: Exception) -> JSONResponse:
        _log.error("%s", error)
        return RequestError(503, UNREADABLE, headers={"Retry-After": "5"}).response

    @app.exception_handler(Closed)
    async def closed(_: Request, error: Closed) -> JSONResponse:
        return RequestError(503, str(error), headers={"Retry-After": "5"}).response

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return RequestError(500, "something went wrong; the server's log says what").response


def _invalid(error: RequestValidationError) -> RequestError:
    """The first thing that is wrong, without repeating what may be megabytes of input."""
    # Where an input may be of several kinds, each kind complains; too long tells most.
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "too_long"), errors[0])
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    if len(place) > _LONGEST_PLACE:
        place = f"{place[:_LONGEST_PLACE]}…"
    what = f"{place}: {first['msg']}" if place else first["msg"]
    return RequestError(400, what, param=place or None)
