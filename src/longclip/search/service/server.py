"""The server: it makes the application, with the page in it, listens, and stops in order."""

import os
import re
import secrets
import signal
import socket
from collections.abc import Callable
from functools import cache, partial
from importlib import resources
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from longclip import __version__
from longclip.search.query.searcher import Searcher
from longclip.search.service.config import ServeConfig
from longclip.search.service.connections import Connection, allowed_connections
from longclip.search.service.images import images_router
from longclip.search.service.metrics import Measured
from longclip.search.service.openai_api import openai_router
from longclip.search.service.request_limits import MAX_RETRY_SECONDS, Limits, add_error_handlers
from longclip.search.service.search_api import search_router
from longclip.search.service.security import Security, page_policy
from longclip.search.service.service import Service

_SECONDS_TO_FINISH = 5
"""Seconds beyond the time of a request that are left for it when the service stops."""

_KEEP_ALIVE_SECONDS = MAX_RETRY_SECONDS + _SECONDS_TO_FINISH
"""A silent connection stays that long: a client that has to come back later finds it open."""

_MAX_WAITING_CONNECTIONS = 2048

_PICTURE_BLOCK_BYTES = 64 << 20
"""Blocks in which Pillow has its pictures. The C library gives back at once what is above 32 MiB;
smaller ones would be kept for each thread that ever decoded a large picture."""


def serve(
    searcher: Searcher, config: ServeConfig, on_listening: Callable[[str], None] | None = None
) -> None:
    """Serve until the process receives SIGINT or SIGTERM.

    What has been accepted by then is finished; a second SIGINT ends the process at once.

    Args:
        searcher: a database and its model.
        config: how to listen and whom to let in.
        on_listening: called with the address when connections are taken.

    Raises:
        OSError: where the address or port cannot be had.
    """
    pillow: Any = Image  # its stubs leave out the part in C
    pillow.core.set_block_size(_PICTURE_BLOCK_BYTES)
    with listen(config.host, config.port) as listener:
        server = make_server(searcher, config)
        if on_listening:
            on_listening(address_of(listener, config.host))
        server.run(sockets=[listener])


def make_server(searcher: Searcher, config: ServeConfig) -> uvicorn.Server:
    """Make a server that has yet to run."""
    connections = allowed_connections()
    protocol: Any = partial(Connection, most=connections, is_stopping=lambda: server.should_exit)
    server: uvicorn.Server = _Server(
        uvicorn.Config(
            create_app(searcher, config),
            http=protocol,
            # As many are accepted before the first of them is counted.
            backlog=min(connections, _MAX_WAITING_CONNECTIONS),
            log_level="warning",
            access_log=False,  # addresses may hold the token, and descriptions what people look for
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(config.timeout) + _SECONDS_TO_FINISH,
        )
    )
    return server


class _Server(uvicorn.Server):
    """A server that ^C stops in order, and a second one at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal; uvicorn ends the process by it when all is finished."""
        if sig == signal.SIGINT:
            # By the system's own handler: uvicorn's would go on waiting for threads.
            signal.signal(sig, signal.SIG_DFL)
            # `print` must not be called while the code that was interrupted is in it.
            os.write(2, b"\nfinishing what has been asked; ^C again stops at once\n")
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises OSError, saying what to do, where there can be none."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        # The protocol is named, or asyncio would leave Nagle's algorithm on: 40 ms an answer.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_MAX_WAITING_CONNECTIONS)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OSError(
            f"cannot listen at {host}, port {port}: {error.strerror}; choose another --port "
            "(0 takes a free one) or --host"
        ) from error
    return listener


def address_of(listener: socket.socket, host: str) -> str:
    """Return the URL for a browser."""
    name = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}/"


def create_app(searcher: Searcher, config: ServeConfig | None = None) -> FastAPI:
    """Make the service, as an ASGI application.

    Embedding begins with its lifespan, and what has been accepted is finished when that ends.

    Args:
        searcher: a database and its model.
        config: how to listen and whom to let in; the defaults serve this machine.
    """
    config = config or ServeConfig()
    service = Service(searcher, config)
    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(
        title="longclip",
        version=__version__,
        lifespan=lambda _: service.running(),
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(search_router(service))
    app.include_router(openai_router(service))
    app.include_router(images_router(service))

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        # A new one each time: whoever smuggles markup into the page, by the caption of a picture
        # for example, cannot know it, and what does not bear it is not run.
        nonce = secrets.token_urlsafe(16)
        headers = {"content-security-policy": page_policy(nonce)}
        return HTMLResponse(render_page(nonce), headers=headers)

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

    add_error_handlers(app, service.model_name)
    # The last one added sees a request first: refused requests are counted, too, and strangers
    # do not get as far as having their bodies read.
    app.add_middleware(Limits, max_bytes=config.max_bytes, seconds=config.timeout)
    app.add_middleware(Security, token=config.token)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


_NONCE = "{{nonce}}"


def render_page(nonce: str) -> str:
    """Return the search page with its styles and scripts inline, all marked with `nonce`.

    One response, so that a policy which lets nothing be loaded from anywhere can go with it.
    """
    return _joined_page().replace(_NONCE, nonce)


@cache
def _joined_page() -> str:
    """Return page/index.html with the files that it refers to in their places."""
    folder = resources.files(__package__) / "page"

    def inline(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        tag = "style" if reference[1] else "script"
        content = (folder / name).read_text(encoding="utf-8")
        return f'<{tag} nonce="{_NONCE}">\n{content}</{tag}>'

    html = (folder / "index.html").read_text(encoding="utf-8")
    references = r'<link rel="stylesheet" href="([\w.]+)">|<script src="([\w.]+)"></script>'
    joined, count = re.subn(references, inline, html)
    assert count, "index.html refers to its style and its scripts"
    return joined
