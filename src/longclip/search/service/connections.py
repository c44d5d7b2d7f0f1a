"""Connections: how many there are at a time, and how long one may be silent or slow.

uvicorn waits for ever for the rest of a header, and for a client that does not read its answer; and
whoever takes all file handles shuts everybody else out before a token is asked for.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_SECONDS_FOR_HEADER = 15
"""From the beginning of a connection, or the first byte of a request, to the end of its header."""

_SECONDS_FOR_READING = 30
_LEAST_READ_BYTES = 1 << 16
"""What a client has to read of a long answer in that time."""

_SECONDS_FOR_REST = 3
"""What is left of a request's body when the service stops has to come within that time."""

_MAX_CONNECTIONS = 2048
_HANDLES_WANTED = 8192
_HANDLES_RESERVED = 100
"""File handles for the database, originals, and whatever else the process needs."""


def allowed_connections() -> int:
    """Return how many connections there may be, and have as many file handles as that takes.

    Half of the handles that are not reserved: new connections are there before old ones are closed.
    """
    try:
        import resource
    except ImportError:  # Windows, where sockets are no files
        return _MAX_CONNECTIONS
    handles, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handles == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    wanted = _HANDLES_WANTED if most == resource.RLIM_INFINITY else min(most, _HANDLES_WANTED)
    if wanted > handles:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
            handles = wanted
    return max(16, min((handles - _HANDLES_RESERVED) // 2, _MAX_CONNECTIONS))


class Connection(H11Protocol):
    """One connection. Where there are too many, the one that has waited longest is closed.

    Args:
        most: connections at a time.
        is_stopping: whether the service has been asked to stop.
        options: uvicorn's.
    """

    def __init__(self, *, most: int, is_stopping: Callable[[], bool], **options: Any) -> None:
        super().__init__(**options)
        self._most = most
        self._is_stopping = is_stopping
        self._waits_since = 0.0
        self._header_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._unread = 0

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits_for_client(self) -> bool:
        return self._is_between_requests or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection, and await a header; where the service stops, close it."""
        super().connection_made(transport)
        if self._is_stopping():
            # One that is accepted just then is not among those that uvicorn shuts down.
            self.drop()
            return
        self._waits_since = self.loop.time()
        self._await_header()
        there = [each for each in self.connections if not each.transport.is_closing()]
        if len(there) > self._most:
            waiting = [
                each for each in there if isinstance(each, Connection) and each._waits_for_client
            ]
            min(waiting, key=lambda each: each._waits_since).drop()

    def data_received(self, data: bytes) -> None:
        """Await the rest of the header where it is not whole."""
        super().data_received(data)
        if not self._is_between_requests:
            self._stop_timers()
        elif self._header_timer is None and not self.transport.is_closing():
            self._await_header()

    def on_response_complete(self) -> None:
        """Count the time in which nothing is sent from here on."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Watch whether the client goes on reading."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Watch no longer."""
        super().resume_writing()
        if self._reader_timer:
            self._reader_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timers()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish what has been sent whole; what has not may still be."""
        super().shutdown()
        if not self.transport.is_closing() and self._waits_for_client:
            self.loop.call_later(_SECONDS_FOR_REST, self._drop_unless_sent)

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()

    def _drop_unless_sent(self) -> None:
        if self._waits_for_client:
            self.drop()

    def _await_header(self) -> None:
        self._header_timer = self.loop.call_later(_SECONDS_FOR_HEADER, self.drop)

    def _await_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(_SECONDS_FOR_READING, self._check_reader)

    def _check_reader(self) -> None:
        if self.transport.get_write_buffer_size() > self._unread - _LEAST_READ_BYTES:
            self.drop()
        else:
            self._await_reader()

    def _stop_timers(self) -> None:
        for timer in (self._header_timer, self._reader_timer):
            if timer:
                timer.cancel()
        self._header_timer = None
