"""The server: it listens, and stops in order."""

import socket
from collections.abc import Callable

import uvicorn

from longclip.search.query.searcher import Searcher
from longclip.search.service.app import create_app
from longclip.search.service.config import ServeConfig
from longclip.search.service.request_limits import MAX_RETRY_SECONDS

_SECONDS_TO_FINISH = 5
"""Seconds beyond the time of a request that are left for it when the service stops."""

_KEEP_ALIVE_SECONDS = MAX_RETRY_SECONDS + _SECONDS_TO_FINISH
"""A silent connection stays that long: a client that has to come back later finds it open."""

_MAX_WAITING_CONNECTIONS = 2048


def serve(
    searcher: Searcher, config: ServeConfig, on_listening: Callable[[str], None] | None = None
) -> None:
    """Serve until the process receives SIGINT or SIGTERM.

    What has been accepted by then is finished.

    Args:
        searcher: a database and its model.
        config: how to listen and whom to let in.
        on_listening: called with the address when connections are taken.

    Raises:
        OSError: where the address or port cannot be had.
    """
    with listen(config.host, config.port) as listener:
        server = make_server(searcher, config)
        if on_listening:
            on_listening(address_of(listener, config.host))
        server.run(sockets=[listener])


def make_server(searcher: Searcher, config: ServeConfig) -> uvicorn.Server:
    """Make a server that has yet to run."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(searcher, config),
            log_level="warning",
            access_log=False,  # addresses may hold the token, and descriptions what people look for
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(config.timeout) + _SECONDS_TO_FINISH,
        )
    )


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
