"""Silent and slow clients, and the memory that many of them may take together."""

import socket
import threading
import time
from contextlib import ExitStack

import pytest

from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig, connections, server
from longclip.search.service.request_limits import (
    Admission,
    Busy,
    Limits,
    PixelBudget,
    RequestError,
)
from tests.helpers.service import PATIENCE, Served, data_url, picture, serving, until

HALF_A_HEADER = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\n"
HALF_A_BODY = HALF_A_HEADER + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"


def connect(served: Served, sent: bytes = b"") -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=PATIENCE)
    client.sendall(sent)
    return client


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(4096) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", HALF_A_HEADER])
def test_a_header_that_never_ends_ends_its_connection(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "_SECONDS_FOR_HEADER", 0.2)
    with serving(searcher) as served:
        first = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with connect(served, sent) as new, connect(served, first) as used:
            assert is_closed(new)
            assert b"200 OK" in used.recv(4096)
            used.sendall(HALF_A_HEADER)
            assert is_closed(used)


@pytest.mark.parametrize("sent", [b"", HALF_A_HEADER, HALF_A_BODY])
def test_idle_connections_shut_nobody_out(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "allowed_connections", lambda: 16)
    with serving(searcher) as served, ExitStack() as idle:
        clients = [idle.enter_context(connect(served, sent)) for _ in range(28)]
        with served.client() as client:
            for _ in range(3):
                assert client.get("/health").status_code == 200
        assert is_closed(clients[0]), "the oldest has made room"


def test_a_half_sent_body_does_not_hold_up_the_end(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SECONDS_FOR_REST", 0.2)
    config = ServeConfig(port=0, timeout=10 * PATIENCE)
    with serving(searcher, config) as served, connect(served, HALF_A_BODY) as client:
        until(lambda: len(served.server.server_state.tasks) == 1)
        served.stop()
        assert is_closed(client)


def test_what_connects_while_the_service_stops_does_not_hold_it_up(searcher: Searcher) -> None:
    with serving(searcher, ServeConfig(port=0, timeout=10 * PATIENCE)) as served:
        loop = served.server.servers[0].get_loop()
        go_on = threading.Event()
        loop.call_soon_threadsafe(go_on.wait)
        with connect(served, HALF_A_BODY) as client:
            # The loop finds both at once: it accepts the connection, and is to stop.
            served.server.should_exit = True
            time.sleep(0.2)
            go_on.set()
            assert is_closed(client)


def test_an_answer_that_nobody_reads_ends_its_connection(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_SECONDS_FOR_READING", 0.2)
    monkeypatch.setattr(server, "render_page", lambda _: "x" * 50_000_000)
    with serving(searcher) as served:
        with connect(served, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            until(lambda: bool(served.server.server_state.connections))
            until(lambda: not served.server.server_state.connections)
        with served.client() as client:  # one that reads gets all of it
            assert len(client.get("/").content) == 50_000_000


def test_there_are_handles_for_half_as_many_connections_again() -> None:
    resource = pytest.importorskip("resource")
    allowed = connections.allowed_connections()
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 16 <= allowed <= 2048
    assert handles == resource.RLIM_INFINITY or 2 * allowed <= handles


def test_bodies_together_have_an_end(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longclip.search.service.request_limits.MAX_BODIES", 2)
    head = HALF_A_HEADER + b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    body = {"model": "nano", "input": "a", "user": "x" * 300_000}
    with serving(searcher, ServeConfig(port=0, max_mb=1)) as served, served.client() as client:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(connect(served, head + b"x" * 990_000))
            limits = served.server.config.app.middleware_stack  # type: ignore[union-attr]
            while not isinstance(limits, Limits):
                limits = limits.app
            until(lambda: limits._held == 2 * 990_000)
            refused = client.post("/v1/embeddings", json=body)
            assert refused.status_code == 503
            assert "too many large requests" in refused.json()["error"]["message"]
            assert refused.headers["retry-after"] == "5"
            assert client.get("/health").status_code == 200
        until(lambda: client.post("/v1/embeddings", json=body).status_code == 200)


def test_pictures_are_decoded_within_a_budget_in_their_order() -> None:
    budget = PixelBudget(most=10, most_waiting=14)
    order: list[int] = []

    def decode(pixels: int) -> None:
        with budget.room(pixels):
            order.append(pixels)

    with budget.room(3):
        threads = [threading.Thread(target=decode, args=[pixels]) for pixels in (8, 6)]
        threads[0].start()
        until(lambda: budget._waiting == 8)
        threads[1].start()
        until(lambda: budget._waiting == 14)
        with (
            pytest.raises(RequestError, match="too many large pictures") as refused,
            budget.room(1),
        ):
            pass
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "5"})
        time.sleep(0.01)
        assert order == [], "the small one waits behind the large one"
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [8, 6]
    with budget.room(1000):  # alone
        pass


def test_a_picture_that_waits_does_so_in_the_size_that_the_model_reads(served: Served) -> None:
    with served.client() as client:
        answer = client.post(
            "/v1/search", json={"image": data_url(picture(4).resize((3000, 3000)))}
        )
    assert answer.status_code == 200
    budget = served.server.config.app.state.service.pixel_budget  # type: ignore[union-attr]
    assert (budget._held, budget._waiting) == (0, 0)


def test_no_place_is_given_where_the_wait_is_longer_than_a_request_may_take() -> None:
    admission = Admission(9, expected_wait=lambda: 61.5, most_seconds=60)
    with pytest.raises(Busy, match="try again in 60 s"), admission.place():
        pass
    with Admission(9, expected_wait=lambda: 59, most_seconds=60).place():
        pass
