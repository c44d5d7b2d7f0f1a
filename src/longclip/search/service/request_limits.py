"""Limits of requests, and the errors with which they are refused.

Errors have the shape of OpenAI's API on all routes, so that its clients can read them.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, model_validator
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longclip.errors import EncoderError, ImageError, SearchError, UnreadableError, UsageError
from longclip.search.service.batching import Closed

MAX_RETRY_SECONDS = 60
"""The most that a refused client is asked to wait before it comes back."""

UNREADABLE = "the database cannot be read; see the log of the server"
"""Message for clients in place of the cause, which names places on the server."""

_MAX_FIELD_NAME_CHARACTERS = 100
"""Characters of a field's name that are repeated; clients make up such names, too."""

_MAX_FIELDS = 64

MAX_BODIES = 8
"""Bodies of the largest size that are in memory at a time; of smaller ones as many more."""

_log = logging.getLogger("longclip.serve")


class RequestError(Exception):
    """A request that is refused; its message goes to the client as it is."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers

    @property
    def response(self) -> JSONResponse:
        """Return the response for the client."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        if self.status == 429:
            kind = "rate_limit_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, self.status, self.headers)


class Busy(RequestError):
    """A request that is refused because too many are under way."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            429,
            f"the server is busy; try again in {retry_after} s",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(retry_after)},
        )


def add_error_handlers(app: FastAPI, model_name: str) -> None:
    """Give all errors the same shape; what is not the client's fault goes to the log alone.

    Args:
        app: where they come from.
        model_name: what clients know the model by.
    """

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return error.response

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return RequestError(error.status_code, str(error.detail), headers=error.headers).response

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if "json" not in request.headers.get("content-type", "").lower():
            message = "send JSON, and say so: with the header Content-Type: application/json"
            return RequestError(415, message).response
        # Where an input may be of several kinds, each kind complains; the length says most. What
        # was sent is not repeated: it may be megabytes.
        errors = error.errors()
        first = next((one for one in errors if one["type"] == "too_long"), errors[0])
        if first["type"] == "json_invalid":
            message = f"the body is no JSON: {first['ctx']['error']}, character {first['loc'][-1]}"
            return RequestError(400, message).response
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        if len(place) > _MAX_FIELD_NAME_CHARACTERS:
            place = f"{place[:_MAX_FIELD_NAME_CHARACTERS]}…"
        unknown = first["type"] == "extra_forbidden"
        reason = "no such field; /openapi.json lists them" if unknown else first["msg"]
        message = f"{place}: {reason}" if place else reason
        return RequestError(400, message, param=place or None).response

    async def bad_input(_: Request, error: Exception) -> JSONResponse:
        return RequestError(400, str(error)).response

    app.add_exception_handler(SearchError, bad_input)
    app.add_exception_handler(ImageError, bad_input)

    @app.exception_handler(EncoderError)
    async def not_finite(_: Request, error: EncoderError) -> JSONResponse:
        _log.error("%s", error)
        return RequestError(
            500,
            f"the model {model_name} gives an embedding that is not finite: its weights are "
            "damaged; whoever runs this service has to put another in its place",
            code="model_broken",
        ).response

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


class RequestModel(BaseModel):
    """The body of a request. A field that is null is one that was not sent, as clients mean it."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if len(given) > _MAX_FIELDS:
            raise UsageError(f"it has {len(given):,} fields; it may have {_MAX_FIELDS}")
        return {name: value for name, value in given.items() if value is not None}


class Admission:
    """Places for requests that cost something. Used by the event loop alone.

    Args:
        places: how many there are.
        expected_wait: seconds after which to try again.
        most_seconds: of a request; none is given where what waits already takes longer.
    """

    def __init__(
        self, places: int, expected_wait: Callable[[], float], most_seconds: float = math.inf
    ) -> None:
        self.places = places
        self._most_seconds = most_seconds
        self.taken = 0
        self._expected_wait = expected_wait

    @contextmanager
    def place(self) -> Iterator[Callable[[], None]]:
        """Hold one of the places; raises Busy where all are taken, or would be for too long.

        What it gives is called when the request has been read, and raises Busy where too little of
        its time is left. Of many that come together none waits yet when it is let in: how much
        there is to embed is known when their texts are tokens.
        """
        began = time.monotonic()
        if self.taken >= self.places:
            raise self._busy()
        self._check(self._most_seconds)
        self.taken += 1
        try:
            yield lambda: self._check(self._most_seconds - (time.monotonic() - began))
        finally:
            self.taken -= 1

    def _check(self, seconds_left: float) -> None:
        if self._expected_wait() > seconds_left:
            raise self._busy()

    def _busy(self) -> Busy:
        return Busy(min(max(math.ceil(self._expected_wait()), 1), MAX_RETRY_SECONDS))


class PixelBudget:
    """Memory for decoded pictures, in pixels; used by several threads.

    Args:
        most: pixels decoded at a time; a picture of more goes alone.
        most_waiting: pixels of what waits besides; beyond them nothing is accepted.
    """

    def __init__(self, most: int, most_waiting: int) -> None:
        self._most = most
        self._most_waiting = most_waiting
        self._held = self._waiting = 0
        self._changed = threading.Condition()
        self._turn = threading.Lock()  # or small pictures would go before a large one for ever

    @contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """Wait for room for so many pixels and hold it; raises RequestError where too many wait."""
        with self._changed:
            if self._waiting and self._waiting + pixels > self._most_waiting:
                raise RequestError(
                    503,
                    "too many large pictures are waiting; try again later, or send smaller ones",
                    headers={"Retry-After": "5"},
                )
            self._waiting += pixels
        try:
            with self._turn, self._changed:
                self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._most)
                self._held += pixels
        finally:
            with self._changed:
                self._waiting -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


class Limits:
    """Middleware: bodies are read up to a size, answers begin within a time.

    What works on a request is cancelled when its client has gone.

    Args:
        app: what answers.
        max_bytes: of a body; of all bodies together MAX_BODIES times as many.
        seconds: from the first byte of a request to the first one of its answer.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on within the limits, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        try:
            await self._within_limits(scope, parts, receive, send)
        finally:
            self._held -= sum(map(len, parts))

    async def _within_limits(
        self, scope: Scope, parts: list[bytes], receive: Receive, send: Send
    ) -> None:
        deadline = asyncio.get_running_loop().time() + self.seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._read_body(scope, receive, parts)
        except _GoneError:
            return
        except TimeoutError:
            late = RequestError(408, f"the request was not sent within {self.seconds:g} s")
            await late.response(scope, receive, send)
            return
        except RequestError as error:
            await error.response(scope, receive, send)
            return
        await self._answer(scope, b"".join(parts), receive, send, deadline)

    async def _read_body(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        claimed = Headers(scope=scope).get("content-length", "0")
        too_large = claimed.isdigit() and int(claimed) > self.max_bytes
        size, more, too_many = 0, True, False
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            too_large |= size > self.max_bytes
            # What is too large is still read, and dropped: a client in the middle of sending
            # would have its connection reset before it reads why.
            too_many |= self._held + len(part) > MAX_BODIES * self.max_bytes
            if too_large or too_many:
                self._held -= sum(map(len, parts))
                parts.clear()
            else:
                parts.append(part)
                self._held += len(part)
        if too_large:
            limit = f"{self.max_bytes / 2**20:g} MiB"
            raise RequestError(413, f"a request may have {limit}; send a smaller image or fewer")
        if too_many:
            raise RequestError(
                503, "too many large requests are under way", headers={"Retry-After": "5"}
            )

    async def _answer(
        self, scope: Scope, body: bytes, receive: Receive, send: Send, deadline: float
    ) -> None:
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_body() -> Message:
            if messages:
                return messages.pop()
            # Starlette waits here to hear that the client has gone. `disconnected` hears that in
            # its place, as a message comes but once; this wait is cancelled with the work.
            return await asyncio.Future()

        async def disconnected() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        answer = _Answer(send)
        work = asyncio.ensure_future(self.app(scope, receive_body, answer))
        gone = asyncio.create_task(disconnected())
        try:
            left = deadline - asyncio.get_running_loop().time()
            done, _ = await asyncio.wait(
                {work, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            if not done and answer.begun:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                answer.dropped = True
                work.cancel()
                if not gone.done() and not answer.begun:
                    message = f"there was no answer within {self.seconds:g} s; try again later"
                    late = RequestError(504, message, headers={"Retry-After": "10"})
                    await late.response(scope, receive, send)
                await asyncio.wait({work})
            elif error := work.exception():
                raise error
        finally:
            work.cancel()
            gone.cancel()


class _GoneError(Exception):
    """The client does not wait any more."""


@dataclass
class _Answer:
    """Passes messages on until they are no longer wanted."""

    send: Send
    begun: bool = False
    dropped: bool = False

    async def __call__(self, message: Message) -> None:
        if self.dropped:
            return
        self.begun = True
        await self.send(message)
