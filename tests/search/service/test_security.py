"""Who is let in."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.search.query.searcher import Searcher
from longclip.search.service import ServeConfig
from longclip.search.service.config import is_loopback
from tests.helpers.service import Served, serving

TOKEN = "0123456789abcdef&=?%"
SEARCH = {"text": "a boat"}


@pytest.fixture(scope="module")
def guarded(searcher: Searcher) -> "Served":
    with serving(searcher, ServeConfig(port=0, token=TOKEN)) as served:
        yield served  # type: ignore[misc]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "127.0.0.1:80"])
def test_this_machine_by_its_own_names(served: Served, host: str) -> None:
    assert served.client().get("/v1/about", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[", "@"],
)
@pytest.mark.parametrize("path", ["/", "/v1/about", "/health", "/metrics", "/thumb/x"])
def test_under_another_name_nothing_is_answered(served: Served, host: str, path: str) -> None:
    answer = served.client().get(path, headers={"host": host})
    assert answer.status_code in (400, 403)


FOREIGN = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "origin": "https://evil.example",
    },
)


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_sites_get_nothing(served: Served, headers: dict[str, str]) -> None:
    client = served.client()
    assert client.post("/v1/search", json=SEARCH, headers=headers).status_code == 403
    if headers.get("sec-fetch-mode") != "navigate":
        assert client.get("/v1/about", headers=headers).status_code == 403


def test_our_own_page_and_links_to_it_are_answered(served: Served) -> None:
    client = served.client()
    own = {"origin": served.url, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert client.post("/v1/search", json=SEARCH, headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


def test_a_form_of_another_site_cannot_search(served: Served) -> None:
    answer = served.client().post(
        "/v1/search", content=b'{"text": "a"}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/", "/v1/about", "/health", "/thumb/x", "/nowhere", "/metrics"])
def test_headers_that_browsers_heed(served: Served, path: str) -> None:
    headers = served.client().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"cookie": f"longclip={TOKEN}"},
        {"cookie": "longclip="},
        {"cookie": 'longclip="\\'},
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/about", "/metrics", "/openapi.json", "/image/x"])
def test_without_the_token_nothing_is_said(
    guarded: Served, path: str, headers: dict[str, str]
) -> None:
    answer = guarded.client().get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    listed = guarded.client().post("/v1/browse", json={}, headers=headers)
    assert listed.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_with_the_token(guarded: Served) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "photos.example"}
    client = guarded.client(headers=headers)
    assert client.post("/v1/search", json=SEARCH).status_code == 200
    assert client.post("/v1/browse", json={}).status_code == 200
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_needs_no_token(guarded: Served, path: str) -> None:
    assert guarded.client().get(path).status_code == 200


def test_a_browser_gets_a_cookie_for_the_token_and_keeps_its_query(guarded: Served) -> None:
    with guarded.client() as browser:
        answer = browser.get("/", params={"q": 'a "boat" & <b>', "token": TOKEN})
        assert answer.status_code == 200
        assert TOKEN not in answer.text
        assert 'url=/?q=a+%22boat%22+%26+%3Cb%3E"' in answer.text
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/v1/about").status_code == 200
        assert "<html" in browser.get("/").text
    assert guarded.client().get("/").status_code == 401


@pytest.mark.parametrize("path", ["/?token=wrong", "/?token=", "/v1/about?token=" + "x" * 16])
def test_a_wrong_token_in_the_address_gets_none(guarded: Served, path: str) -> None:
    answer = guarded.client().get(path)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_openai_clients_send_the_token_as_their_key(guarded: Served) -> None:
    openai = pytest.importorskip("openai")
    for key, fails in ((TOKEN, False), ("x" * 20, True)):
        client = openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=key, max_retries=0)
        try:
            client.embeddings.create(model="nano", input="a boat")
            assert not fails
        except openai.AuthenticationError:
            assert fails


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "photos.example", ""])
def test_others_are_let_in_only_with_a_token(host: str) -> None:
    with pytest.raises(ValueError, match="LONGCLIP_TOKEN"):
        ServeConfig(host=host)
    assert ServeConfig(host=host, token=TOKEN).token == TOKEN


@pytest.mark.parametrize("token", ["", "short", "ü" * 20, "a" * 15 + "\n"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="16 printable ASCII characters"):
        ServeConfig(token=token)


@pytest.mark.parametrize("name", ["max_requests", "max_mb", "timeout", "refresh"])
def test_limits_are_above_0(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name.replace('_', '-')} is 0"):
        ServeConfig(**{name: 0})


@given(st.text())
def test_only_loopback_is_loopback(text: str) -> None:
    assert not is_loopback(text) or text.lower() == "localhost" or text.startswith(("127.", "::1"))


def test_web_sockets_are_refused(served: Served) -> None:
    answer = httpx2.get(
        served.url + "/",
        headers={
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    )
    assert answer.status_code != 101
