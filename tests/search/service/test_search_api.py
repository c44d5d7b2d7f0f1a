"""Searching over HTTP."""

import base64
import copy
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import torch

import longclip
from longclip.model import CLIP
from longclip.search.database.schema import id_of
from longclip.search.database.store import Store
from longclip.search.query.query import Query
from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig
from tests.helpers.service import (
    HOSTILE,
    Served,
    data_url,
    make_database,
    picture,
    row,
    serving,
    until,
)

TEXT = "A red square on white. Nothing else is in the picture. It is small & plain."


@pytest.fixture
def client(served: Served) -> httpx2.Client:
    return served.client()


def test_about(client: httpx2.Client, store: Store) -> None:
    about = client.get("/v1/about").json()
    [folder] = about.pop("example_folders")
    assert folder.endswith("/photos")
    assert about == {
        "model": "nano",
        "images": 24,
        "context_length": 77,
        "own_tokenizer": False,
        "version": longclip.__version__,
    }


def test_a_model_that_gives_no_numbers_is_named(nano: CLIP, store: Store) -> None:
    broken = copy.deepcopy(nano)
    with torch.no_grad():
        broken.text_model.final_layer_norm.weight[0] = float("nan")
    with serving(Searcher(store, broken)) as served, served.client() as client:
        for path, body in (
            ("/v1/search", {"text": "a dog"}),
            ("/v1/embeddings", {"model": "nano", "input": ["a dog", "a cat"]}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "model_broken"
            assert "the model nano gives" in answer.json()["error"]["message"]


def test_a_search_is_what_the_searcher_finds(client: httpx2.Client, searcher: Searcher) -> None:
    request = {"text": TEXT, "not": ["a blue circle"], "k": 5}
    answer = client.post("/v1/search", json=request).json()
    found = searcher.search(Query(text=TEXT, without=("a blue circle",), count=5))
    assert [hit["id"] for hit in answer["hits"]] == [hit.facts.id for hit in found.hits]
    for hit, expected in zip(answer["hits"], found.hits, strict=True):
        assert hit["similarity"] == pytest.approx(expected.similarity, abs=1e-5)
        assert hit["sentences"] == pytest.approx(expected.sentences, abs=1e-3)
        assert hit["thumbnail"] == f"/thumb/{hit['id']}"
        assert (hit["uri"], hit["bytes"]) == (expected.facts.uri, expected.facts.bytes)
    assert answer["sentences"] == list(found.sentences)
    assert answer["tokens"] == found.tokens
    assert (answer["total"], answer["exact"], answer["pieces"]) == (24, True, 1)
    assert answer["took_ms"] > 0


def test_pages_of_an_answer_are_its_parts(client: httpx2.Client) -> None:
    whole = client.post("/v1/search", json={"text": TEXT, "k": 12}).json()["hits"]
    parts = [
        client.post("/v1/search", json={"text": TEXT, "k": 4, "offset": offset}).json()["hits"]
        for offset in (0, 4, 8)
    ]
    assert [hit["id"] for part in parts for hit in part] == [hit["id"] for hit in whole]


def test_an_image_finds_itself(client: httpx2.Client, searcher: Searcher) -> None:
    answer = client.post("/v1/search", json={"image": data_url(picture(8)), "k": 1}).json()
    assert answer["hits"][0]["name"] == "08.png"
    assert answer["hits"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert answer["sentences"] == []


def test_text_and_image_together(client: httpx2.Client, searcher: Searcher) -> None:
    both = {"text": TEXT, "image": data_url(picture(9)), "k": 6}
    answer = client.post("/v1/search", json=both).json()
    found = searcher.search(Query(text=TEXT, image=picture(9), count=6))
    assert len(answer["hits"]) == 6
    assert answer["hits"][0]["similarity"] == pytest.approx(found.hits[0].similarity, abs=1e-5)


@pytest.mark.parametrize("share", [0, 0.2, 1])
def test_the_share_of_the_text(client: httpx2.Client, searcher: Searcher, share: float) -> None:
    both = {"text": TEXT, "image": data_url(picture(9)), "k": 6, "text_share": share}
    answer = client.post("/v1/search", json=both).json()
    found = searcher.search(Query(text=TEXT, image=picture(9), count=6, text_share=share))
    assert [hit["id"] for hit in answer["hits"]] == [hit.facts.id for hit in found.hits]
    assert answer["hits"][0]["similarity"] == pytest.approx(found.hits[0].similarity, abs=1e-5)


@pytest.mark.parametrize("more", [{}, {"folder": "/photos"}, {"after": "2020", "before": "2021"}])
def test_a_filter_that_cannot_be_read_is_shown_as_it_was_written(
    client: httpx2.Client, more: dict[str, str]
) -> None:
    request = {"text": "a", "where": "colour = 3", **more}
    message = client.post("/v1/search", json=request).json()["error"]["message"]
    assert message.startswith("the filter 'colour = 3' cannot be read: ")
    assert "starts_with" not in message


def test_more_like_one_and_filters(client: httpx2.Client, store: Store) -> None:
    first = client.post("/v1/search", json={"text": TEXT, "k": 1}).json()["hits"][0]
    alike = client.post("/v1/search", json={"like": first["id"], "k": 50}).json()
    assert len(alike["hits"]) == 23
    assert first["id"] not in [hit["id"] for hit in alike["hits"]]
    few = client.post(
        "/v1/search", json={"text": TEXT, "where": "height < 70", "folder": first["folder"]}
    ).json()
    assert few["total"] == 6 == len(few["hits"])
    none = client.post("/v1/search", json={"text": TEXT, "after": "2020"}).json()
    assert (none["total"], none["hits"]) == (0, [])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "nothing to search for"),
        ({"text": "  "}, "nothing to search for"),
        ({"text": "a", "where": "1 ="}, "the filter"),
        ({"text": "a", "where": "length(uri"}, "the filter"),
        ({"text": "a", "where": "1 / 0 = width"}, "the filter"),
        ({"text": "a", "where": "cast(name as int) = 3"}, "the filter"),
        ({"text": "a", "after": "soon"}, "is no date"),
        ({"text": "a", "k": 201}, "k: Input should be less than or equal to 200"),
        ({"text": "a", "k": 0}, "k: "),
        ({"text": "a", "k": True}, "k: "),
        ({"text": "a", "k": "5"}, "k: "),
        ({"text": "a", "why": "yes"}, "why: "),
        ({"text": "a", "offset": -1}, "offset: "),
        ({"text": "a", "text_share": 1.5}, "text_share: "),
        ({"text": 5}, "text: "),
        ({"text": "a" * 20_001}, "text: "),
        ({"text": "a", "after": "2" * 101}, "after: "),
        ({"text": "a", "before": "2" * 101}, "before: "),
        ({"text": "a", "not": ["a"] * 33}, "not: "),
        ({"text": "a", "sort": "name"}, "sort: "),
        ({"text": "a", "x" * 10_000: 1}, f"{'x' * 100}…: "),
        ({"text": "a"} | {f"x{i}": 1 for i in range(99)}, "it has 100 fields; it may have 64"),
        ({"like": "../../etc/passwd"}, "like: "),
        ({"like": "0" * 32}, "there is no image"),
        ({"like": "0" * 32, "image": data_url(picture(1))}, "give one of them"),
        ({"image": "http://127.0.0.1:9/a.jpg"}, "addresses of images are not followed"),
        ({"image": "file:///etc/passwd"}, "addresses of images are not followed"),
        ({"image": "data:image/png;base64,####"}, "not valid base64"),
        ({"image": "data:image/png;base64,aGFsbG8="}, "not an image of a format that is read"),
        ({"text": "a", "where": "thumbnail = 5\x00"}, "the filter"),
        ({"text": "a", "count": 3}, "count: no such field"),
    ],
)
def test_what_cannot_be_answered_is_400_and_says_why(
    client: httpx2.Client, request_: dict[str, object], message: str
) -> None:
    answer = client.post("/v1/search", json=request_)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert len(answer.content) < 1000


def test_null_is_what_was_not_sent(client: httpx2.Client) -> None:
    """Clients whose fields are typed send all of them."""
    fields = ("not", "image", "like", "where", "folder", "after", "before", "text_share", "k")
    nulls: dict[str, object] = dict.fromkeys((*fields, "offset", "why"))
    answer = client.post("/v1/search", json={"text": TEXT} | nulls).json()
    expected = client.post("/v1/search", json={"text": TEXT}).json()
    assert answer["hits"] == expected["hits"]
    by_image = client.post("/v1/search", json={"text": None, "image": data_url(picture(3))})
    assert by_image.status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"text": "\\ud800"}', b"\xff", b"null"])
def test_what_is_no_request_is_400(client: httpx2.Client, body: bytes) -> None:
    answer = client.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/x-www-form-urlencoded"}])
def test_a_body_that_is_not_called_json_is_told_how_to_be(
    client: httpx2.Client, headers: dict[str, str]
) -> None:
    answer = client.post("/v1/search", content=b'{"text": "a"}', headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_where_json_breaks_off_is_told(client: httpx2.Client) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/search", content=b'{"text": "a",}', headers=headers)
    assert "the body is no JSON: " in answer.json()["error"]["message"]
    assert ", character 1" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("side", "message"), [(9000, "more than the 50,000,000 allowed"), (60_000, "too large")]
)
def test_a_bomb_is_refused_before_it_is_decoded(
    client: httpx2.Client, side: int, message: str
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(side)))
    url = "data:image/png;base64," + base64.b64encode(bomb).decode()
    answer = client.post("/v1/search", json={"image": url})
    assert answer.status_code == 400
    assert message in answer.text


def test_tokens(client: httpx2.Client) -> None:
    short = client.post("/v1/tokens", json={"text": "a red boat"}).json()
    assert short == {"count": 5, "context_length": 77, "cut_77": None, "cut": None}
    long = client.post("/v1/tokens", json={"text": "boat " * 100}).json()
    assert long == {"count": 102, "context_length": 77, "cut_77": 75 * 5, "cut": 75 * 5}
    # Mojibake of "\u00e0 la carte", three tokens each: what repairs it stands behind a space.
    repaired = client.post("/v1/tokens", json={"text": "\u00c3  la carte " * 40}).json()
    assert repaired == {"count": 122, "context_length": 77, "cut_77": 25 * 12, "cut": 25 * 12}


def test_the_page_has_a_fresh_nonce_and_nothing_else_may_run(client: httpx2.Client) -> None:
    policies = set()
    for _ in range(2):
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        [nonce] = set(re.findall(r"'nonce-([\w-]{20,})'", policy))
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        assert "http" not in policy
        assert "{{nonce}}" not in page.text
        assert f'<script nonce="{nonce}">' in page.text
        assert len(re.findall("<script|<style", page.text)) == page.text.count(f'nonce="{nonce}"')
        policies.add(policy)
    assert len(policies) == 2


def test_health_readiness_and_no_outside_documentation(client: httpx2.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.get("/docs").status_code == 404
    assert client.get("/docs").json()["error"]["message"] == "Not Found"
    assert "/v1/embeddings" in client.get("/openapi.json").json()["paths"]


def test_metrics(client: httpx2.Client) -> None:
    client.post("/v1/search", json={"text": TEXT})
    client.get("/thumb/nothing")
    client.get("/somewhere/else")
    text = client.get("/metrics").text
    assert re.search(r'longclip_requests_total\{route="/v1/search",status="200"\} \d', text)
    assert 'longclip_requests_total{route="/thumb/{id}",status="404"}' in text
    assert 'longclip_requests_total{route="other",status="404"}' in text
    assert "longclip_images 24.0" in text
    assert "longclip_requests_under_way 0.0" in text
    assert "longclip_queue_requests 0.0" in text
    assert "longclip_queue_tokens 0.0" in text
    [batches] = re.findall(r"longclip_batch_items_count (\d+)", text)
    assert int(batches) >= 1


def test_what_is_indexed_meanwhile_is_found_and_what_is_deleted_is_not(
    tmp_path: Path, nano: CLIP
) -> None:
    writer = make_database(tmp_path, nano, count=4)
    searcher = Searcher(Store.open(writer.place), nano)
    with serving(searcher, ServeConfig(port=0, refresh=0.05)) as served:
        client = served.client()

        def images() -> set[str]:
            hits = client.post("/v1/search", json={"text": "a boat"}).json()["hits"]
            return {hit["name"] for hit in hits}

        def wait_until(names: set[str]) -> None:
            until(lambda: client.get("/v1/about").json()["images"] == len(names))
            assert images() == names

        assert images() == {HOSTILE, "01.jpg", "02.webp", "03.tiff"}
        new = tmp_path / "photos" / "new.png"
        picture(17).save(new)
        writer.put([row(new, nano)])
        wait_until({HOSTILE, "01.jpg", "02.webp", "03.tiff", "new.png"})
        gone = str(tmp_path / "photos" / "01.jpg")
        writer.delete([gone])
        wait_until({HOSTILE, "02.webp", "03.tiff", "new.png"})
        assert client.get(f"/thumb/{id_of(gone)}").status_code == 404
        assert client.get(f"/image/{id_of(gone)}").status_code == 404
        assert client.post("/v1/search", json={"like": id_of(gone)}).status_code == 400


def test_a_database_made_anew_with_another_model_is_not_searched(
    tmp_path: Path, nano: CLIP
) -> None:
    writer = make_database(tmp_path, nano, count=2)
    searcher = Searcher(Store.open(writer.place), nano)
    with serving(searcher, ServeConfig(port=0, refresh=0.05)) as served:
        client = served.client()
        Store.create(
            writer.place, replace(writer.about, digest="x", model="/home/me/other"), replace=True
        )
        until(lambda: client.get("/ready").status_code != 200)
        answer = client.get("/ready")
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert "indexed again with another model, other;" in message
        assert str(tmp_path) not in answer.text, "anybody may ask this"
        refused = client.post("/v1/search", json={"text": "a boat"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]


def test_browsing_lists_all_images_newest_first(client: httpx2.Client, store: Store) -> None:
    facts = [row.facts for row in store.rows("id", _ids(client))]
    expected = sorted(facts, key=lambda each: each.mtime_ns, reverse=True)
    assert all(each.taken is None for each in facts)
    pages = [
        client.post("/v1/browse", json={"k": 10, "offset": offset}).json() for offset in (0, 10, 20)
    ]
    assert [len(page["hits"]) for page in pages] == [10, 10, 4]
    assert {page["total"] for page in pages} == {24}
    shown = [hit["id"] for page in pages for hit in page["hits"]]
    assert shown == [each.id for each in expected]
    assert set(pages[0]["hits"][0]) == set(_hit(client)) - {"similarity", "also", "sentences"}


def test_browsing_takes_the_filters_of_a_search(client: httpx2.Client) -> None:
    for condition in ({"where": "format = 'PNG'"}, {"folder": "/nowhere"}, {"after": "2030"}):
        asked = {"text": TEXT, "k": 200, **condition}
        found = client.post("/v1/search", json=asked).json()
        del asked["text"]
        listed = client.post("/v1/browse", json=asked).json()
        assert {hit["id"] for hit in listed["hits"]} == {hit["id"] for hit in found["hits"]}
        assert listed["total"] == found["total"]
    assert client.post("/v1/browse", json={"where": "sha256(name)"}).status_code == 400
    for wrong in ({"k": 201}, {"offset": 2001}, {"text": "a"}):
        assert client.post("/v1/browse", json=wrong).status_code == 400


def test_of_an_empty_database_nothing_is_listed(nano: CLIP, tmp_path: Path) -> None:
    with serving(Searcher(make_database(tmp_path, nano, count=0), nano)) as served:
        answer = served.client().post("/v1/browse", json={}).json()
    assert (answer["hits"], answer["total"]) == ([], 0)


def _hit(client: httpx2.Client) -> dict[str, object]:
    answer = client.post("/v1/search", json={"text": TEXT, "k": 1}).json()
    hit: dict[str, object] = answer["hits"][0]
    return hit


def _ids(client: httpx2.Client) -> list[str]:
    answer = client.post("/v1/search", json={"text": TEXT, "k": 200}).json()
    return [hit["id"] for hit in answer["hits"]]
