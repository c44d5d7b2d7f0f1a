"""Errors as clients of OpenAI's API expect them, on all routes."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from longclip.errors import ImageError, SearchError, UnreadableError
from longclip.search.service.batching import Closed

UNREADABLE = "the database cannot be read; see the log of the server"
"""Message for clients in place of the cause, which names places on the server."""
_MAX_FIELD_NAME = 100
"""Characters of a field's name that are repeated; clients make up such names, too."""

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


def add_error_handlers(app: FastAPI) -> None:
    """Give all errors the same shape; what is not the client's fault goes to the log alone."""

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return error.response

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
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
    """Name the first thing that is wrong, without repeating what may be megabytes of input."""
    # Where an input may be of several kinds, each kind complains; the length says most.
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "too_long"), errors[0])
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    if len(place) > _MAX_FIELD_NAME:
        place = f"{place[:_MAX_FIELD_NAME]}…"
    what = f"{place}: {first['msg']}" if place else first["msg"]
    return RequestError(400, what, param=place or None)
