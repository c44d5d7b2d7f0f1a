"""A database that cannot be read for a while, or any more."""

import logging
from pathlib import Path

import pytest

from longclip.errors import SearchError, UnreadableError
from longclip.model import CLIP
from longclip.search.database.store import Store
from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig
from tests.helpers.service import make_database, serving, until

PLACE = "/secret/place"


def test_clients_are_told_and_the_log_says_why(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(*_: object, **__: object) -> None:
        raise UnreadableError(f"the database cannot be read: {PLACE} is gone")

    with serving(searcher) as served, caplog.at_level(logging.ERROR, "longclip.serve"):
        client = served.client()
        monkeypatch.setattr(Store, "nearest", unreadable)
        monkeypatch.setattr(Store, "count", unreadable)
        monkeypatch.setattr(Store, "__len__", unreadable)
        for answer in (
            client.post("/v1/search", json={"text": "a boat"}),
            client.get("/v1/about"),
        ):
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.json()["error"]["message"].startswith("the database cannot be read;")
            assert PLACE not in answer.text
        metrics = client.get("/metrics")
    assert PLACE in caplog.text
    assert metrics.status_code == 200
    assert "longclip_images NaN" in metrics.text
    assert "longclip_queue_tokens 0.0" in metrics.text


def test_files_that_are_gone_are_nobodys_mistake(tmp_path: Path, nano: CLIP) -> None:
    store = make_database(tmp_path, nano, count=3)
    for file in Path(store.place).rglob("data/*.lance"):
        file.unlink()
    searcher = Searcher(Store.open(store.place), nano)
    readings = (
        lambda: searcher.store.indexed_at(["x"]),
        lambda: searcher.store.rows("id", ["x"]),
        lambda: searcher.store.sample(2),
        lambda: list(searcher.store.scan(["uri"])),
    )
    for reading in readings:
        with pytest.raises(UnreadableError):
            reading()
    with pytest.raises(SearchError):
        searcher.store.nearest(nano.encode_text("a boat")[0].numpy(), 1)
    with serving(searcher) as served:
        for asked in ({}, {"folder": "/a"}, {"where": "width > 1"}):
            answer = served.client().post("/v1/search", json={"text": "a boat"} | asked)
            assert answer.status_code == 503
            assert tmp_path.name not in answer.text


def test_an_error_without_a_message_does_not_end_the_watch(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Store) -> None:
        raise MemoryError

    with serving(searcher, ServeConfig(port=0, refresh=0.02)) as served:
        client = served.client()
        with monkeypatch.context() as patched:
            patched.setattr(Store, "refresh", fails)
            until(lambda: client.get("/ready").status_code == 503)
        until(lambda: client.get("/ready").status_code == 200)
