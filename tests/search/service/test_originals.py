"""Thumbnails and originals."""

import io
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from longclip.model import CLIP
from longclip.search.database.schema import id_of
from longclip.search.database.store import Store
from longclip.search.query.searcher import Searcher
from longclip.search.service import images
from tests.helpers.service import (
    HOSTILE,
    PATIENCE,
    Served,
    encoded,
    make_database,
    picture,
    row,
    serving,
)


@pytest.fixture
def client(served: Served) -> httpx2.Client:
    return served.client()


@pytest.fixture
def photos(store: Store) -> Path:
    return Path(store.place).parent / "photos"


def test_thumbnails(client: httpx2.Client, photos: Path) -> None:
    answer = client.get(f"/thumb/{id_of(str(photos / '02.webp'))}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).size == (96, 66)


@pytest.mark.parametrize(
    ("name", "kind"), [("01.jpg", "image/jpeg"), ("02.webp", "image/webp"), ("04.png", "image/png")]
)
def test_an_original_that_browsers_show_comes_as_it_is(
    client: httpx2.Client, photos: Path, name: str, kind: str
) -> None:
    answer = client.get(f"/image/{id_of(str(photos / name))}")
    assert answer.content == (photos / name).read_bytes()
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["content-disposition"] == f"inline; filename*=UTF-8''{name}"


def test_another_comes_as_a_jpeg(client: httpx2.Client, photos: Path) -> None:
    answer = client.get(f"/image/{id_of(str(photos / '03.tiff'))}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (96, 67)


def test_names_cannot_break_out_of_headers(client: httpx2.Client, photos: Path) -> None:
    answer = client.get(f"/image/{id_of(str(photos / HOSTILE))}")
    assert answer.status_code == 200
    assert not set('<>"') & set(answer.headers["content-disposition"])


@pytest.mark.parametrize(
    "id",
    [
        "..%2f..%2fetc%2fpasswd",
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "' OR 1=1 --",
        "0" * 32,
        "0" * 31,
        "0" * 32 + "%0a",
        "%00",
        "A" * 32,
    ],
)
@pytest.mark.parametrize("kind", ["thumb", "image"])
def test_anything_but_an_id_of_an_image_is_404(client: httpx2.Client, kind: str, id: str) -> None:
    answer = client.get(f"/{kind}/{id}")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_what_has_gone_or_is_no_image_any_more_is_404_and_its_thumbnail_stays(
    tmp_path: Path, nano: CLIP
) -> None:
    store = make_database(tmp_path, nano, count=3)
    gone, secret, _ = sorted((tmp_path / "photos").iterdir())
    with serving(Searcher(store, nano)) as served:
        client = served.client()
        gone.unlink()
        secret.write_text("password")
        for path in (gone, secret):
            answer = client.get(f"/image/{id_of(str(path))}")
            assert answer.status_code == 404
            assert path.name in answer.json()["error"]["message"]
            assert "password" not in answer.text
            assert str(tmp_path) not in answer.text
            assert client.get(f"/thumb/{id_of(str(path))}").status_code == 200


def test_originals_in_archives_and_none_on_the_web(tmp_path: Path, nano: CLIP) -> None:
    store = make_database(tmp_path, nano, count=1)
    shard = tmp_path / "shard.tar"
    content = encoded(picture(5))
    with tarfile.open(shard, "w") as tar:
        member = tarfile.TarInfo("a/5.jpg")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    [path] = (tmp_path / "photos").iterdir()
    old = row(path, nano)
    uris = [f"{shard}::a/5.jpg", f"{shard}::a/6.jpg", "http://127.0.0.1:1/a.jpg"]
    store.put([replace(old, facts=replace(old.facts, uri=uri)) for uri in uris])
    with serving(Searcher(store, nano)) as served:
        inside, missing, web = (served.client().get(f"/image/{id_of(uri)}") for uri in uris)
    assert inside.content == content
    assert missing.status_code == web.status_code == 404


def test_searches_do_not_wait_for_slow_originals(
    searcher: Searcher, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, storage_answers = threading.Semaphore(0), threading.Event()

    def slow(uri: str) -> bytes:
        begun.release()
        assert storage_answers.wait(PATIENCE)
        return Path(uri).read_bytes()

    monkeypatch.setattr(images, "read_original", slow)
    address = f"/image/{id_of(str(photos / '01.jpg'))}"
    with serving(searcher) as served, ThreadPoolExecutor(8) as clients:
        try:
            originals = [clients.submit(served.client().get, address) for _ in range(8)]
            for _ in originals:
                assert begun.acquire(timeout=PATIENCE)
            found = served.client().post("/v1/search", json={"text": "a boat"})
            assert found.status_code == 200
            assert not any(original.done() for original in originals)
        finally:
            storage_answers.set()
        assert {original.result(PATIENCE).status_code for original in originals} == {200}
