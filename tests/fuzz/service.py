"""Requests to the search service, most of them wrong: each is answered, or refused in JSON."""

import asyncio
import base64
import functools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from longclip.errors import UsageError
from longclip.model import load
from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig, create_app
from tests.helpers.random_filters import broken, random_filter
from tests.helpers.service import data_url, encoded, make_database, picture

MAX_ERROR_BYTES = 4000
TOKEN = "the token of the fuzzer"

_TEXTS = [
    "", " ", "a red square", "a" * 25_000, "(" * 2000, "\n" * 3000, "&#" + "1" * 5000, "\ud800",
    "\0", "data:", "data:,", "data:;base64,", "data:image/png;base64,AAAA", "data:image/svg+xml,<a",
    "https://example.org/a.png", "0" * 32, "../../etc/passwd", "%2e%2e%2f", "2024", "2024-13-77",
    "width > 0", "name = 'a' OR (" * 50, "repeat('a', 1000000000) = name", "\u00e9" * 300,
    "\u00c3 la " * 300,
]  # fmt: skip
_NONSENSE: list[Any] = [
    None, True, False, 0, 1, -1, 5, 2**31, 2**63, 10**40, 1.5, 1e308, -0.0, [], {}, [[]], [None],
    [True], [1, "a"], ["a", [1]], [[1], [2.5]], [49407], [[-1]], ["a"] * 3000, {"a": {"a": []}},
    [[[[[[1]]]]]],
]  # fmt: skip
_BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/search": [
        {"text": "A dog. It runs.", "not": ["people"], "k": 3, "offset": 1, "why": False},
        {"image": data_url(picture(2)), "text": "red", "text_share": 0.3},
        {"like": "0" * 32},
        {"text": "a", "where": "width > 10 AND name LIKE '%.png'", "folder": "/", "after": "2020"},
    ],
    "/v1/embeddings": [
        {"model": "nano", "input": "a red boat"},
        {"model": "nano", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 8},
        {"model": "nano", "input": [[320, 525], [320]]},
        {"model": "nano", "input": [data_url(picture(1)), "a"], "user": "me"},
    ],
    "/v1/browse": [{"k": 3, "offset": 1, "where": "width > 10", "folder": "/", "before": "2020"}],
    "/v1/tokens": [{"text": "a red boat " * 30}],
}
_FIELDS = (
    "text", "not", "image", "like", "where", "folder", "after", "before", "text_share", "k",
    "offset", "why", "input", "dimensions", "new",
)  # fmt: skip
_PATHS = [
    "/", "/health", "/ready", "/metrics", "/openapi.json", "/v1/about", "/v1/models",
    "/v1/models/nano", "/v1/models/a/b", "/thumb/" + "0" * 32, "/image/x", "/image/" + "a" * 32,
    "/thumb/..%2f..", "/nowhere", "//", "/\u00e9", "/?token=a&token=b",
]  # fmt: skip
_IMAGES = [
    encoded(picture(3).convert(mode), kind)
    for mode, kind in (
        ("RGB", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "GIF"),
        ("RGB", "WEBP"),
        ("L", "TIFF"),
    )
] + [encoded(Image.new("I;16", (9, 9)), "PNG"), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"", b"\0" * 99]


def attempt(seed: int, folder: Path) -> None:
    """Send one request; raises UsageError where it is refused as it should be."""
    runner, app, _ = _served()
    status, body = runner.run(_ask(app, **_request(random.Random(seed))))
    assert 200 <= status < 500, f"status {status}: {body[:300]!r}"
    if status >= 400:
        assert len(body) <= MAX_ERROR_BYTES, f"an error of {len(body)} bytes"
        message = json.loads(body)["error"]["message"]
        assert isinstance(message, str)
        assert message
        raise UsageError(message)


@functools.cache
def _served() -> tuple[asyncio.Runner, Any, Any]:
    """Start the service in this process, in which it also ends."""
    model = load("nano")
    store = make_database(Path(tempfile.mkdtemp()), model, count=8)
    app = create_app(Searcher(store, model), ServeConfig(port=0, max_mb=2, token=TOKEN))
    runner = asyncio.Runner()
    lifespan = app.state.service.running()
    runner.run(lifespan.__aenter__())
    return runner, app, lifespan


async def _ask(
    app: Any, method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def _request(rng: random.Random) -> dict[str, Any]:
    headers = {
        "host": "localhost",
        "content-type": "application/json",
        "authorization": f"Bearer {TOKEN}",
    }
    if rng.random() < 0.1:
        name = rng.choice([*headers, "origin", "cookie", "content-length", "sec-fetch-site"])
        headers[name] = rng.choice(
            ["", "x", "null", "\xe9" * 9, "9" * 30, "a=b; longclip=x", "[::1"]
        )
    if rng.random() < 0.15:
        method = rng.choice(["GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "X"])
        return {"method": method, "path": rng.choice(_PATHS), "headers": headers, "body": b""}
    path = rng.choice(list(_BODIES))
    request = dict(rng.choice(_BODIES[path]))
    if path == "/v1/search" and rng.random() < 0.4:
        where, _ = random_filter(rng)
        request["where"] = broken(rng, where) if rng.random() < 0.5 else where
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        field = rng.choice([*request, *_FIELDS])
        request[field] = _value(rng)
    body = json.dumps(request).encode()
    if rng.random() < 0.2:
        body = _damaged(rng, body)
    elif rng.random() < 0.02:
        body = b"[" * rng.choice([10, 100_000]) + body
    return {"method": "POST", "path": path, "headers": headers, "body": body}


def _value(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(_TEXTS)
    if kind < 0.6:
        content = rng.choice(_IMAGES)
        content = _damaged(rng, content) if rng.random() < 0.7 else content
        return "data:image/png;base64," + base64.b64encode(content).decode()
    value = rng.choice(_NONSENSE)
    return [value] * rng.choice([1, 2, 40]) if rng.random() < 0.2 else value


def _damaged(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(damaged))
        damaged[at : at + rng.choice([0, 1, 1, 8])] = rng.randbytes(rng.choice([0, 1, 1, 4]))
    return bytes(damaged)
