"""Size, time and number of requests, clients that go, and the end of the service."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig
from longclip.search.service.embedder import Embedder, Input
from longclip.search.service.service import Service
from tests.helpers.service import PATIENCE, Served, serving, until


class HeldUp:
    """A model that embeds a batch each time it is allowed to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = threading.Semaphore(0)
        self.seen: list[int] = []
        embed = Embedder.__call__

        def held_up(embedder: Embedder, items: Sequence[Input]) -> NDArray[np.float32]:
            self.seen += [len(item) for item in items]
            assert self.allowed.acquire(timeout=PATIENCE)
            return embed(embedder, items)

        monkeypatch.setattr(Embedder, "__call__", held_up)

    def go_on(self) -> None:
        self.allowed.release(10_000)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldUp]:
    model = HeldUp(monkeypatch)
    yield model
    model.go_on()


@contextmanager
def waiting(served: Served, count: int) -> Iterator[Callable[[], list[httpx2.Response]]]:
    """Clients that wait for an answer each; the call gives their answers."""
    with ThreadPoolExecutor(count) as clients:
        answers = [clients.submit(embed, served, 3 + i) for i in range(count)]
        until(lambda: service(served).admission.taken == count)
        yield lambda: [answer.result(timeout=60) for answer in answers]


def embed(served: Served, tokens: int) -> httpx2.Response:
    with served.client() as client:
        return client.post(
            "/v1/embeddings", json={"model": "nano", "input": "boat " * (tokens - 2)}
        )


def service(served: Served) -> Service:
    return served.server.config.app.state.service  # type: ignore[union-attr, no-any-return]


def test_more_than_there_is_room_for_is_429_and_the_others_are_answered(
    searcher: Searcher, model: HeldUp
) -> None:
    config = ServeConfig(port=0, max_requests=3)
    with serving(searcher, config) as served, waiting(served, 3) as answers:
        refused = [embed(served, 5), served.client().post("/v1/search", json={"text": "a"})]
        assert served.client().get("/").status_code == 200
        model.go_on()
        assert [answer.status_code for answer in answers()] == [200] * 3
        for answer in refused:
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert embed(served, 5).status_code == 200


@pytest.mark.parametrize(
    ("route", "body"),
    [("/v1/search", {"text": "a"}), ("/v1/embeddings", {"model": "nano", "input": "a"})],
)
def test_what_came_together_with_too_much_is_refused_when_it_has_been_read(
    searcher: Searcher, route: str, body: dict[str, str]
) -> None:
    with serving(searcher, ServeConfig(port=0, timeout=30)) as served:
        waits = iter([0, 29.5, 0, 31, 31])  # seconds when a request is let in, and when it is read
        admission = service(served).admission
        admission._expected_wait = lambda: next(waits)
        assert served.client().post(route, json=body).status_code == 200
        refused = served.client().post(route, json=body)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "31"
        until(lambda: admission.taken == 0)


def test_what_takes_too_long_is_504_and_its_place_is_free_again(
    searcher: Searcher, model: HeldUp
) -> None:
    with serving(searcher, ServeConfig(port=0, timeout=1)) as served:
        late = embed(served, 7)
        assert late.status_code == 504
        assert "within 1 s" in late.json()["error"]["message"]
        assert embed(served, 9).status_code == 504
        # The answer may be here before the server has tidied up behind it.
        until(lambda: service(served).admission.taken == 0)
        model.go_on()
    assert model.seen == [7], "what was given up while it waited is not embedded"


def test_clients_that_go_leave_the_queue(searcher: Searcher, model: HeldUp) -> None:
    body = b'{"model": "nano", "input": "a b c d e f g"}'
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with serving(searcher) as served, waiting(served, 1) as answers:
        until(lambda: model.seen == [3])
        with socket.create_connection(_address(served)) as client:
            client.sendall(head.encode() + body)
            until(lambda: service(served).batcher.waiting_requests == 1)
        until(lambda: service(served).admission.taken == 1)
        model.go_on()
        [answer] = answers()
        assert answer.status_code == 200
        assert embed(served, 4).status_code == 200
    assert model.seen == [3, 4]


def test_shutdown_finishes_what_was_accepted(searcher: Searcher, model: HeldUp) -> None:
    with serving(searcher) as served, waiting(served, 12) as answers:
        served.server.should_exit = True
        until(lambda: not _takes_connections(served))
        model.go_on()
        assert [answer.status_code for answer in answers()] == [200] * 12
        served.thread.join(timeout=60)
        assert not served.thread.is_alive()
    assert sorted(model.seen) == list(range(3, 15))


def _takes_connections(served: Served) -> bool:
    try:
        socket.create_connection(_address(served)).close()
    except OSError:
        return False
    return True


def _address(served: Served) -> tuple[str, int]:
    host, port = served.url.removeprefix("http://").split(":")
    return host, int(port)


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_too_large_is_413(searcher: Searcher, chunked: bool) -> None:
    body = b'{"text": "' + b"a" * 3_000_000 + b'"}'
    content = (body[i : i + 65536] for i in range(0, len(body), 65536)) if chunked else body
    with serving(searcher, ServeConfig(port=0, max_mb=1)) as served:
        answer = served.client().post(
            "/v1/search", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
        assert "1 MiB" in answer.json()["error"]["message"]
        assert served.client().get("/health").status_code == 200


def test_a_request_that_is_never_sent_whole_is_408(searcher: Searcher) -> None:
    config = ServeConfig(port=0, timeout=0.3)
    head = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    with serving(searcher, config) as served, socket.create_connection(_address(served)) as client:
        client.sendall(head)
        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_an_error_of_ours_says_nothing_of_the_inside(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OverflowError("secret of the inside")

    monkeypatch.setattr(Embedder, "__call__", broken)
    with serving(searcher) as served:
        answer = embed(served, 5)
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert "secret" not in answer.text
        assert service(served).admission.taken == 0
