"""Limits of requests: their size, their time, and how many may be under way."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longclip.search.service.request_errors import Busy, RequestError

MAX_RETRY_SECONDS = 60
"""The most that a refused client is asked to wait before it comes back."""


class Admission:
    """Places for requests that cost something. Used by the event loop alone.

    Args:
        places: how many there are.
        expected_wait: seconds after which to try again.
    """

    def __init__(self, places: int, expected_wait: Callable[[], float]) -> None:
        self.places = places
        self.taken = 0
        self._expected_wait = expected_wait

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places; raises Busy where all are taken."""
        if self.taken >= self.places:
            seconds = math.ceil(self._expected_wait())
            raise Busy(min(max(seconds, 1), MAX_RETRY_SECONDS))
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Limits:
    """Middleware: bodies are read up to a size, answers begin within a time.

    What works on a request is cancelled when its client has gone.

    Args:
        app: what answers.
        max_bytes: of a body.
        seconds: from the first byte of a request to the first one of its answer.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on within the limits, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self.seconds
        try:
            async with asyncio.timeout_at(deadline):
                body = await self._body(scope, receive)
        except _GoneError:
            return
        except TimeoutError:
            late = RequestError(408, f"the request was not sent within {self.seconds:g} s")
            await late.response(scope, receive, send)
            return
        except RequestError as error:
            await error.response(scope, receive, send)
            return
        await self._answer(scope, body, receive, send, deadline)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        claimed = Headers(scope=scope).get("content-length", "0")
        too_large = claimed.isdigit() and int(claimed) > self.max_bytes
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            too_large |= size > self.max_bytes
            # What is too large is still read, and dropped: a client in the middle of sending
            # would have its connection reset before it reads why.
            if not too_large:
                parts.append(part)
        if too_large:
            limit = f"{self.max_bytes / 2**20:g} MiB"
            raise RequestError(413, f"a request may have {limit}; send a smaller image or fewer")
        return b"".join(parts)

    async def _answer(
        self, scope: Scope, body: bytes, receive: Receive, send: Send, deadline: float
    ) -> None:
        answer = _Answer(send)
        work = asyncio.create_task(self._work(scope, body, answer))
        gone = asyncio.create_task(_disconnect(receive))
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
                    await RequestError(504, message).response(scope, receive, send)
                await asyncio.wait({work})
            elif error := work.exception():
                raise error
        finally:
            work.cancel()
            gone.cancel()

    async def _work(self, scope: Scope, body: bytes, answer: "_Answer") -> None:
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if messages:
                return messages.pop()
            return await asyncio.Future()  # whoever waits for the client to go is cancelled here

        await self.app(scope, receive, answer)


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


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
