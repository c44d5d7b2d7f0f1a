"""The service with a small database, and a real browser that looks at it."""

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from longclip.search import Facts, Searcher
    from tests.helpers.small_database import Served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.helpers.browser import BROWSER, playwright

    # No longer than a module: while Playwright runs, its thread can run no other event loop, and
    # what is made for a package may live until all tests are done.
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Searcher, list[Facts]]":
    from tests.helpers.small_database import small_searcher

    return small_searcher(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def served(searched: "tuple[Searcher, list[Facts]]") -> "Iterator[Served]":
    from longclip.search.service.config import ServeConfig
    from longclip.search.service.server import address_of, listen, make_server
    from tests.helpers.small_database import Served

    searcher, facts = searched
    with listen("127.0.0.1", 0) as listener:
        server = make_server(searcher, ServeConfig())
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)
        yield Served(address_of(listener, "127.0.0.1"), facts)
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.fixture
def page(browser: Any, served: "Served") -> Iterator[Any]:
    """A fresh window of desktop size."""
    yield from watched(browser, served, viewport={"width": 1280, "height": 800})


@pytest.fixture
def phone(browser: Any, served: "Served") -> Iterator[Any]:
    screen = {"width": 360, "height": 740}
    yield from watched(browser, served, viewport=screen, is_mobile=True, has_touch=True)


@pytest.fixture(params=["light", "dark"])
def coloured_page(browser: Any, served: "Served", request: pytest.FixtureRequest) -> Iterator[Any]:
    yield from watched(browser, served, color_scheme=request.param)


def watched(browser: Any, served: "Served", **options: Any) -> Iterator[Any]:
    """A window in which nothing may go wrong, and from which nothing may go elsewhere."""
    context = browser.new_context(base_url=served.url, reduced_motion="reduce", **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error on the page: {error}"))
    page.on("console", lambda line: wrong.append(line.text) if _is_violation(line.text) else None)
    page.on("request", lambda sent: wrong.append(sent.url) if _is_outside(sent.url, served) else 0)
    yield page
    context.close()
    assert wrong == []


def _is_violation(line: str) -> bool:
    return "Content Security Policy" in line or "Trusted" in line


def _is_outside(url: str, served: "Served") -> bool:
    return not url.startswith((served.url, "data:", "blob:"))
