"""Steps that many tests of the page take.

Test modules import this, and are skipped as a whole where there is no browser.
"""

import base64
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the search page is tested in a browser: pip install playwright"
)
expect = playwright.expect

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, _BROWSERS)), None)
if BROWSER is None:
    pytest.skip(
        "the search page is tested in a browser: install Chromium (package chromium)",
        allow_module_level=True,
    )

TEXT = "A windmill stands behind a yellow house. It rains. A black dog is on the left."


def search(page: Any, text: str = TEXT) -> dict[str, Any]:
    """Type, search, and wait until the answer is shown; returns the answer."""
    page.goto("/")
    page.get_by_label("Description of the picture").fill(text)
    with page.expect_response("**/v1/search") as answered:
        page.get_by_role("button", name="Search", exact=False).click()
    page.locator(".hit").first.wait_for()
    answer: dict[str, Any] = answered.value.json()
    return answer


def asked_by(action: Any, page: Any) -> dict[str, Any]:
    """What the page sends to the server when `action` is done."""
    with page.expect_request("**/v1/search") as sent:
        action()
    body: dict[str, Any] = json.loads(sent.value.post_data)
    return body


def words_of(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def expect_words(page: Any, expected: dict[str, list[str]]) -> None:
    """Wait until the address holds these: the browser tells of it later than it shows the page."""
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query) == expected, timeout=5000)


def names(page: Any) -> list[str]:
    shown: list[str] = page.locator(".hit .name").all_inner_texts()
    return shown


def send_file(page: Any, path: str | Path, kind: str, how: str) -> None:
    content = base64.b64encode(Path(path).read_bytes()).decode()
    page.evaluate(
        """([content, kind, how]) => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "dropped", { type: kind }));
            const event = how === "drop"
                ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        [content, kind, how],
    )
