"""Security of the service: who is let in, and the headers that browsers heed.

Without a token the service trusts this machine alone. A browser on it is also visited by other
people's pages, so requests that those start are refused: under a foreign host name (DNS rebinding)
and from a foreign origin.
"""

import hashlib
import hmac
import html
from collections.abc import Mapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longclip.search.service.config import is_loopback
from longclip.search.service.request_limits import RequestError

COOKIE = "longclip"
_OPEN_PATHS = ("/health", "/ready")
"""Asked by what watches the service, which has no token; they say nothing about its content."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Security:
    """Middleware: checks every request, and sets the headers that browsers heed.

    Args:
        app: what answers.
        token: what clients must present, as `Authorization: Bearer`, or once as `/?token=`, for
            which a browser gets a cookie.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no web sockets; closing unanswered refuses them

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._login(scope)
        if answer is None:
            try:
                self._check(scope)
            except RequestError as error:
                answer = error.response
        await (answer or self.app)(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _split("//" + headers.get("host", "")).hostname or ""
        if self.token is None and not is_loopback(host):
            raise RequestError(
                403, "this service answers to localhost and 127.0.0.1 alone, under no other name"
            )
        if _is_foreign(scope, headers):
            raise RequestError(403, "requests from other sites' pages are refused")
        if self.token is None or scope["path"] in _OPEN_PATHS:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_allowed = scheme.lower() == "bearer" and _same(given.strip(), self.token)
        with suppress(CookieError):
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
            is_allowed |= cookie is not None and _same(cookie.value, _cookie_of(self.token))
        if not is_allowed:
            raise RequestError(
                401,
                "this service wants a token: `Authorization: Bearer TOKEN` (the API key of an "
                "OpenAI client), or in a browser open /?token=TOKEN",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _login(self, scope: Scope) -> Response | None:
        """Return a cookie for a browser that comes with the right token in the address."""
        if self.token is None or scope["path"] != "/" or scope["method"] != "GET":
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if len(given) != 1 or not _same(given[0], self.token):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # No redirect: browsers would send a strict cookie along only if no other site, a web mail
        # for example, led here. From a page of ours they always do.
        target = html.escape("/?" + rest if rest else "/")
        page = HTMLResponse(
            f'<!doctype html><meta http-equiv="refresh" content="0;url={target}">'
            f'<title>longclip</title><a href="{target}">Continue</a>'
        )
        page.set_cookie(COOKIE, _cookie_of(self.token), httponly=True, samesite="strict")
        return page


def page_policy(nonce: str) -> str:
    """Return the policy of the page: it may use what is marked with `nonce`, and this service.

    Style and script stand in the page itself; a nonce lets them run there, and nothing that a
    file name or a caption may bring in. Trusted types forbid the script to make HTML of a string.
    """
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_foreign(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that another site's page has started this request."""
    if scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate":
        return False  # following a link shows the page and gives the other site nothing
    origin = headers.get("origin")
    if origin is not None and _split(origin).netloc != headers.get("host"):
        return True
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _cookie_of(token: str) -> str:
    """Return what stands for the token in a browser, which should not keep the token itself."""
    return hmac.new(token.encode(), b"longclip session", hashlib.sha256).hexdigest()


def _same(given: str, expected: str) -> bool:
    # In a time that does not depend on how much of it is right, which could be measured.
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
