"""What the page says when there is nothing to show, and when something fails."""

from contextlib import suppress
from typing import Any

import pytest

from tests.helpers.browser import TEXT, asked_by, expect, names, playwright, search


def fail(page: Any, times: int, **answer: Any) -> None:
    """The next searches fail like this; without an answer they do not reach the server."""

    def handle(route: Any) -> None:
        if answer:
            route.fulfill(**answer)
        else:
            route.abort()

    page.route("**/v1/search", handle, times=times)


def test_a_busy_server_is_asked_again(page: Any) -> None:
    busy = {"error": {"message": "64 texts wait"}}
    fail(page, 2, status=429, json=busy, headers={"Retry-After": "1"})
    page.goto("/?q=a+boat")
    message = page.get_by_role("alert")
    expect(message).to_contain_text("64 texts wait")
    expect(message).to_contain_text("The search is repeated by itself")
    expect(page.locator(".hit").first).to_be_visible()
    expect(message).to_be_hidden()


def test_a_server_that_is_gone_is_found_again(page: Any) -> None:
    fail(page, 1)
    page.goto("/?q=a+boat")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".hit").first).to_be_visible()


def test_more_of_the_same_can_fail_without_losing_what_is_there(page: Any) -> None:
    search(page)
    fail(page, 1, status=500, json={"error": {"message": "a bug"}})
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_role("alert")).to_contain_text("a bug")
    assert len(names(page)) == 48
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".hit")).to_have_count(60)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "asks for its token"),
        (413, "Too large"),
        (500, "Something went wrong in the server"),
        (503, "Not ready yet"),
        (504, "It took too long"),
    ],
)
def test_errors_are_explained(page: Any, status: int, words: str) -> None:
    fail(page, 9, status=status, body="no JSON")
    page.goto("/?q=a+boat")
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.locator(".hit, .ghost")).to_have_count(0)


def test_a_filter_that_cannot_be_read(page: Any) -> None:
    page.goto("/?q=a+boat&where=colour+%3D+3")
    expect(page.get_by_role("alert")).to_contain_text("colour = 3")
    field = page.get_by_label("Condition")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("width > 1")
    field.press("Enter")
    expect(page.locator(".hit").first).to_be_visible()
    assert field.get_attribute("aria-invalid") is None


def test_filters_that_nothing_passes(page: Any) -> None:
    page.goto("/?q=a+boat&folder=/nowhere&after=2030-01-01")
    expect(page.get_by_role("alert")).to_contain_text("No image passes the filters")
    expect(page.locator("#status")).to_have_text("No images found")
    page.get_by_role("button", name="Remove the filters").click()
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.get_by_label("Folder")).to_have_value("")


def test_an_empty_database(page: Any) -> None:
    nothing = {"hits": [], "sentences": [], "total": 0, "notes": [], "took_ms": 1}
    about = {
        "model": "nano",
        "images": 0,
        "context_length": 77,
        "own_tokenizer": False,
        "example_folders": [],
    }
    page.route("**/v1/about", lambda route: route.fulfill(json=about))
    page.route("**/v1/search", lambda route: route.fulfill(json=nothing))
    newest = {"hits": [], "total": 0, "took_ms": 1}
    page.route("**/v1/browse", lambda route: route.fulfill(json=newest))
    page.goto("/")
    expect(page.locator("#about")).to_have_text("0 images · nano")
    expect(page.get_by_role("alert")).to_contain_text("There are no images yet")
    page.keyboard.type("a boat")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("longclip index FOLDER")


def test_before_a_query_the_newest_images_are_shown(page: Any) -> None:
    page.goto("/")
    expect(page.locator("#status")).to_have_text("Newest 48 of 60 images")
    expect(page.locator(".hit :is(.similarity, .mark)")).to_have_count(0)
    expect(page.get_by_role("button", name="Clear")).to_be_hidden()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".hit")).to_have_count(60)
    assert len(set(names(page))) == 60
    page.locator(".hit").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.reload()
    expect(page.locator("#detail-name")).to_have_text("scene 27.png")


def test_filters_alone_choose_among_the_newest(page: Any) -> None:
    page.goto("/")
    page.get_by_text("Filters").click()
    page.get_by_label("Taken from").fill("2024-05-27")
    page.get_by_label("Taken from").press("Enter")
    expect(page.locator("#status")).to_have_text("Newest 4 of 4 images")
    assert names(page) == ["scene 27.png", "scene 55.png", "scene 26.png", "scene 54.png"]
    page.reload()
    expect(page.locator(".hit")).to_have_count(4)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#status")).to_have_text("Newest 48 of 60 images")


def test_a_newer_search_gives_the_older_one_up(page: Any) -> None:
    old = search(page)
    held: list[Any] = []
    page.route("**/v1/search", lambda route: held.append(route), times=1)
    box = page.get_by_label("Description of the picture")
    box.fill("A slow question.")
    body = asked_by(lambda: page.keyboard.press("Control+Enter"), page)
    assert body["text"] == "A slow question."
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    box.fill("A quick question.")
    with page.expect_event("requestfailed") as given_up:
        body = asked_by(lambda: page.keyboard.press("Control+Enter"), page)
    assert body["text"] == "A quick question."
    assert given_up.value.post_data_json["text"] == "A slow question."
    assert given_up.value.failure == "net::ERR_ABORTED"
    expect(page.locator("#status")).to_contain_text("Best")
    shown = names(page)
    with suppress(playwright.Error):  # the page has given it up
        held[0].fulfill(json=old | {"hits": old["hits"][:1]})
    page.wait_for_timeout(200)
    assert names(page) == shown
    assert page.title().startswith("A quick question.")


def test_files_that_are_gone(page: Any) -> None:
    page.route("**/image/*", lambda route: route.fulfill(status=404))
    answer = search(page)
    page.locator(".hit").first.click()
    expect(page.locator("#detail-gone")).to_contain_text("cannot be read any more")
    address = f"thumb/{answer['hits'][0]['id']}"
    expect(page.locator("#detail-image")).to_have_attribute("src", address)
    page.route("**/thumb/*", lambda route: route.fulfill(status=404))
    page.goto(f"/?q={TEXT}")
    expect(page.locator(".hit").first).to_contain_text("No preview any more")
