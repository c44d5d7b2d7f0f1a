"""Search requests at random: each has an answer, and never a 5xx."""

import json
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from longclip.model import load
from longclip.search.query.searcher import Searcher
from tests.helpers.random_filters import broken, random_filter
from tests.helpers.service import data_url, make_database, picture, serving

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1.5,
        1e308,
        10**30,
        "",
        "a",
        "\x00",
        "é" * 300,
        "a" * 20_001,
        [],
        {},
        [[]],
    ),
    *("2024-05", "data:image/png;base64,", "0" * 32, ["a"] * 40, {"a": {}}, "\ud800", "(" * 500),
)
_FIELDS = (
    *("text", "not", "image", "like", "where", "folder", "after", "before"),
    *("text_share", "k", "offset", "why", "nonsense"),
)


def random_request(rng: Random) -> bytes:
    where, _ = random_filter(rng)
    known: dict[str, Any] = {
        "text": "a red square",
        "not": ["a circle"],
        "image": data_url(picture(rng.randrange(9))),
        "where": broken(rng, where) if rng.random() < 0.5 else where,
        "folder": "/photos",
        "after": "2024",
        "before": "2025-01-01",
        "k": rng.randint(1, 200),
        "offset": rng.randint(0, 2000),
        "text_share": rng.random(),
        "why": rng.random() < 0.5,
    }
    request = {name: known[name] for name in rng.sample(list(known), rng.randint(1, 6))}
    for _ in range(rng.randint(0, 2)):
        request[rng.choice(_FIELDS)] = rng.choice(_ODD)
    body = json.dumps(request).encode()
    if rng.random() < 0.2:
        at = rng.randrange(len(body))
        body = body[:at] + rng.choice((b"", b"\xff", b"{", b"[" * 2000, b'"')) + body[at + 1 :]
    return body


def attempt(seed: int, _: Path) -> None:
    headers = {"content-type": "application/json"}
    body = random_request(Random(seed))
    answer = _client().post("/v1/search", content=body, headers=headers)
    assert answer.status_code in (200, 400, 413), answer.text[:300]
    assert answer.json()


_RUNNING = ExitStack()
"""The service, until the process ends."""


@cache
def _client() -> httpx2.Client:
    model = load("nano")
    store = make_database(Path(tempfile.mkdtemp()), model)
    client = _RUNNING.enter_context(serving(Searcher(store, model))).client()
    client.post("/v1/search", json={"text": "a"})
    return client
