"""Asking on the page: text, pictures, filters, and what an address holds."""

import base64
import re
from typing import Any

import pytest

from longclip.search.database.schema import id_of
from longclip.search.query.sentence_scores import verdict
from tests.helpers.browser import (
    TEXT,
    asked_by,
    expect,
    expect_words,
    names,
    playwright,
    search,
    send_file,
    words_of,
)
from tests.helpers.small_database import SCENES, Served

LONG = " ".join(
    f"On side {word} stands a small red house with a brown roof and two windows."
    for word in ("one", "two", "three", "four", "five", "six", "seven")
)


def test_a_description_finds_images(page: Any) -> None:
    answer = search(page)
    assert names(page) == [hit["name"] for hit in answer["hits"]]
    expect(page.get_by_role("status").first).to_contain_text(f"Best 48 of {SCENES} images")
    expect(page.locator("#about")).to_have_text(f"{SCENES} images · nano")
    expect_words(page, {"q": [TEXT]})
    expect(page.locator(".hit img").first).to_have_js_property("naturalWidth", 128)
    assert set(page.locator(".hit img").evaluate_all("all => all.map(i => i.loading)")) == {"lazy"}


def test_more_can_be_shown(page: Any) -> None:
    search(page)
    more = page.get_by_role("button", name="Show more")
    more.click()
    expect(page.locator(".hit")).to_have_count(SCENES)
    expect(more).to_be_hidden()
    expect(page.locator(".hit").nth(48)).to_be_focused()
    assert len(set(names(page))) == SCENES


def test_every_sentence_has_a_mark_on_every_hit(page: Any) -> None:
    answer = search(page)
    assert len(answer["sentences"]) == 3
    for tile, hit in zip(page.locator(".hit").all()[:10], answer["hits"], strict=False):
        states = tile.locator(".mark").evaluate_all("all => all.map(m => m.classList[1])")
        expected = [verdict(z) for z in hit["sentences"]]
        assert states == expected
        fit = expected.count("yes") + expected.count("some")
        fitting = f"{fit} of 3 sentences fit more than most images"
        assert fitting in tile.get_attribute("aria-label")
    expect(page.locator("#legend")).to_be_visible()


def test_pointing_at_a_hit_colours_the_text(page: Any) -> None:
    typed = "A windmill stands\n  behind a yellow house.  It rains (hard).\nA black dog."
    answer = search(page, typed)
    page.locator(".hit").nth(1).hover()
    coloured = page.locator("#mirror").locator(".yes, .some, .no, .open")
    expect(coloured).to_have_count(3)
    assert [" ".join(text.split()) for text in coloured.all_text_contents()] == answer["sentences"]
    states = coloured.evaluate_all("all => all.map(span => span.className)")
    assert states == page.locator(".hit").nth(1).locator(".mark").evaluate_all(
        "all => all.map(m => m.classList[1])"
    )
    page.mouse.move(1, 1)
    expect(coloured).to_have_count(0)


def test_a_late_count_of_tokens_leaves_the_colours(page: Any) -> None:
    late: list[Any] = []
    page.route("**/v1/tokens", lambda route: late.append(route))
    with page.expect_request("**/v1/tokens"):
        search(page, "A windmill stands. It rains.")
    page.locator(".hit").first.hover()
    coloured = page.locator("#mirror").locator(".yes, .some, .no, .open")
    expect(coloured).to_have_count(2)
    expect(page.locator("#tokens")).not_to_contain_text(" of 77 tokens")
    assert late
    for route in late:
        route.continue_()
    expect(page.locator("#tokens")).to_contain_text(" of 77 tokens")
    expect(coloured).to_have_count(2)


@pytest.mark.parametrize("before", ["", "🦆🦆 Enten\n\n"])
def test_tokens_are_counted_while_typing(page: Any, before: str) -> None:
    page.goto("/")
    tokens = page.locator("#tokens")
    expect(tokens).to_contain_text("up to 77 tokens")
    box = page.get_by_label("Description of the picture")
    box.fill("a boat")
    expect(tokens).to_have_text("4 of 77 tokens")
    with page.expect_response("**/v1/tokens") as counted:
        box.fill(before + LONG)
    answer = counted.value.json()
    expect(tokens).to_contain_text(f"{answer['count']} of 77 tokens")
    expect(tokens).to_contain_text("searched in parts")
    unread = page.locator("#mirror .after-limit").inner_text()
    assert unread.strip() == (before + LONG)[answer["cut"] :]
    assert page.locator("#mirror .cut").get_attribute("data-label") == "77"


def test_a_long_model_shows_where_77_tokens_would_have_ended(page: Any) -> None:
    cut = LONG.index("five stands")
    counted = {"count": 120, "context_length": 248, "cut_77": cut, "cut": None}
    page.route("**/v1/tokens", lambda route: route.fulfill(json=counted))
    page.goto("/")
    page.get_by_label("Description of the picture").fill(LONG)
    expect(page.locator("#tokens")).to_have_text(
        "120 of 248 tokens. A CLIP of 77 tokens would stop at “… windows. On side”."
    )
    assert page.locator("#mirror .after-77").inner_text().strip() == LONG[cut:]
    assert page.locator("#mirror .cut").get_attribute("data-label") == "77"


@pytest.mark.parametrize("own", [False, True])
def test_tokens_of_a_models_own_are_not_compared_with_clips(page: Any, own: bool) -> None:
    about = {
        "model": "m",
        "images": 1,
        "context_length": 248,
        "own_tokenizer": own,
        "example_folders": [],
    }
    cut = None if own else LONG.index("five stands")
    counted = {"count": 120, "context_length": 248, "cut_77": cut, "cut": None}
    page.route("**/v1/about", lambda route: route.fulfill(json=about))
    page.route("**/v1/tokens", lambda route: route.fulfill(json=counted))
    page.goto("/")
    words = page.locator("#tokens")
    most = "up to 248 tokens at once" + ("." if own else ", about 190 words")
    expect(words).to_contain_text(most)
    page.get_by_label("Description of the picture").fill(LONG)
    expect(words).to_contain_text("120 of 248 tokens" + ("" if own else ". A CLIP of 77"))
    expect(page.locator("#meter b")).to_be_visible(visible=not own)
    expect(page.locator("#mirror .cut")).to_have_count(0 if own else 1)


@pytest.mark.parametrize("character", ["🦆", "👩\u200d🌾", "e\u0301"])
def test_the_title_is_cut_between_characters(page: Any, character: str) -> None:
    search(page, f"a{character * 70}")
    expect(page).to_have_title(f"a{character * 59} · longclip")


def test_the_text_lies_exactly_over_what_is_painted_behind_it(page: Any) -> None:
    page.goto("/")
    box = page.get_by_label("Description of the picture")
    for text in ("", "one line", LONG, "lines\n\n\nand lines\n", "word" * 120):
        box.fill(text)
        sizes = page.locator("#text, #mirror").evaluate_all(
            "all => all.map(e => [e.clientWidth, e.clientHeight, e.scrollHeight])"
        )
        assert sizes[0] == sizes[1]
        assert sizes[0][1] == sizes[0][2]


def test_a_notice_says_how_a_long_text_was_read(page: Any) -> None:
    answer = search(page, LONG)
    assert answer["pieces"] > 1
    expect(page.locator("#notes")).to_contain_text("pieces")


def test_negative_text_and_filters_are_sent(page: Any, served: Served) -> None:
    search(page)
    folder = served.facts[0].folder
    page.get_by_label("Not in the picture").fill("rain; people ;")
    page.get_by_text("Filters").click()
    page.get_by_label("Folder").fill(folder)
    page.get_by_label("Taken from").fill("2024-05-03")
    page.get_by_label("Taken before").fill("2024-06-01")
    page.get_by_label("Condition").fill("width = height")
    body = asked_by(lambda: page.keyboard.press("Control+Enter"), page)
    assert body["not"] == ["rain", "people"]
    assert body["folder"] == folder
    assert body["where"] == "width = height"
    assert (body["after"], body["before"]) == ("2024-05-03", "2024-06-01")
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#filters summary")).to_have_text("Filters (4 in use)")
    page.locator(".hit").first.click()
    expect(page.locator("#detail-facts")).to_contain_text(folder)
    page.wait_for_url("**open=*")
    words = words_of(page)
    assert words["not"] == ["rain", "people"]
    assert words["folder"] == [folder]


def test_folders_are_suggested(page: Any, served: Served) -> None:
    page.goto("/")
    options = page.locator("#folders option")
    expect(options).to_have_count(2)
    suggested = {option.get_attribute("value") for option in options.all()}
    assert suggested == {facts.folder for facts in served.facts}


def test_a_link_holds_the_query_and_back_and_forward_work(page: Any) -> None:
    search(page)
    first = names(page)
    box = page.get_by_label("Description of the picture")
    box.fill("A red bus.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_contain_text("Best")
    second, address = names(page), page.url
    assert first != second
    page.go_back()
    expect(box).to_have_value(TEXT)
    expect(page.locator("#status")).to_contain_text("Best")
    assert names(page) == first
    page.go_forward()
    expect(box).to_have_value("A red bus.")
    page.goto("about:blank")
    page.goto(address)
    expect(box).to_have_value("A red bus.")
    expect(page.locator(".hit").first).to_be_visible()
    assert names(page) == second
    page.go_back()
    page.go_back()
    page.go_back()
    page.go_back()
    expect(page.locator(".invitation")).to_be_visible()


def test_a_token_does_not_stay_in_the_address(page: Any) -> None:
    page.goto("/?token=secret&q=a+boat")
    expect(page.locator(".hit").first).to_be_visible()
    expect_words(page, {"q": ["a boat"]})


def test_a_picture_is_chosen(page: Any, served: Served) -> None:
    page.goto("/")
    page.locator("#file").set_input_files(served.facts[12].uri)
    expect(page.locator(".hit .name").first).to_have_text(served.facts[12].name)
    expect(page.locator("#picture")).to_contain_text(served.facts[12].name)
    expect_words(page, {"picture": [served.facts[12].name]})
    page.reload()
    expect(page.locator(".hit .name").first).to_have_text(served.facts[12].name)


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(page: Any, served: Served, how: str) -> None:
    page.goto("/")
    page.get_by_label("Description of the picture").fill("in the snow")
    send_file(page, served.facts[21].uri, "image/png", how)
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#picture-preview")).to_be_visible()
    expect_words(page, {"q": ["in the snow"], "picture": ["dropped"]})
    body = asked_by(lambda: page.get_by_role("button", name="Remove").click(), page)
    assert "image" not in body
    expect(page.locator("#picture")).to_be_hidden()


def test_the_share_of_text_and_picture(page: Any, served: Served) -> None:
    page.goto("/")
    box, slider = page.get_by_label("Description of the picture"), page.get_by_role("slider")
    page.locator("#file").set_input_files(served.facts[12].uri)
    expect(page.locator(".hit").first).to_be_visible()
    expect(slider).to_be_hidden()
    box.fill("in the snow")
    expect(slider).to_be_visible()
    expect(slider).to_have_accessible_name("What counts more, the picture or the text")
    assert asked_by(lambda: page.keyboard.press("Control+Enter"), page)["text_share"] == 0.5
    assert "share" not in words_of(page)
    slider.focus()
    body = asked_by(lambda: slider.press("End"), page)
    assert (body["text_share"], body["text"]) == (1, "in the snow")
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuetext", "text 100 %, picture 0 %")
    body = asked_by(lambda: slider.press("ArrowLeft"), page)
    assert body["text_share"] == 0.95
    page.wait_for_url("**share=0.95*")
    page.reload()
    expect(slider).to_have_value("95")
    page.go_back()
    expect(slider).to_have_value("100")
    body = asked_by(lambda: page.get_by_role("button", name="Remove").click(), page)
    assert "text_share" not in body
    expect_words(page, {"q": ["in the snow"]})
    expect(slider).to_be_hidden()


def test_a_share_is_kept_where_an_image_is_opened_and_closed(page: Any, served: Served) -> None:
    like = id_of(served.facts[12].uri)
    asked: list[Any] = []
    page.on("request", lambda sent: asked.append(sent) if "/v1/search" in sent.url else None)
    page.goto(f"/?q=snow&like={like}&share=0.25")
    page.locator(".hit").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "open=" not in url)
    expect_words(page, {"q": ["snow"], "like": [like], "share": ["0.25"]})
    expect(page.get_by_role("slider")).to_have_value("25")
    assert [sent.post_data_json["text_share"] for sent in asked] == [0.25]


@pytest.mark.parametrize("share", ["2", "-1", "x"])
def test_a_share_that_makes_no_sense_is_even(page: Any, served: Served, share: str) -> None:
    page.goto(f"/?q=snow&like={id_of(served.facts[12].uri)}&share={share}")
    expect(page.get_by_role("slider")).to_have_value("50")
    expect(page.locator(".hit").first).to_be_visible()


def test_what_is_no_picture_is_refused_with_a_reason(page: Any, tmp_path: Any) -> None:
    (tmp_path / "notes.png").write_text("no picture at all")
    page.goto("/")
    send_file(page, tmp_path / "notes.png", "image/png", "drop")
    expect(page.get_by_role("alert")).to_contain_text("cannot be read as a picture")
    send_file(page, tmp_path / "notes.png", "text/plain", "drop")
    expect(page.get_by_role("alert")).to_contain_text("That is no picture")


def test_large_pictures_are_reduced_before_they_travel(page: Any, tmp_path: Any) -> None:
    from PIL import Image

    Image.effect_noise((3000, 1500), 90).save(tmp_path / "large.png")
    page.goto("/")
    body = asked_by(lambda: page.locator("#file").set_input_files(tmp_path / "large.png"), page)
    kind, _, content = body["image"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert len(base64.b64decode(content)) < 1_000_000
    expect(page.locator(".hit").first).to_be_visible()


def test_a_link_to_a_picture_query_says_what_is_missing(page: Any) -> None:
    page.goto("/?picture=cat.jpg")
    expect(page.get_by_role("alert")).to_contain_text("“cat.jpg” is not part of the link")
    page.goto("/?picture=cat.jpg&q=a+house")
    expect(page.locator("#notes")).to_contain_text("“cat.jpg” is not part of the link")


def test_clear_starts_again(page: Any) -> None:
    search(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".invitation")).to_be_visible()
    expect(page.get_by_label("Description of the picture")).to_have_value("")
    expect(page.locator("#status")).to_contain_text("Newest")
    expect_words(page, {})


def test_markup_cannot_be_made_of_text(browser: Any, served: Served) -> None:
    """Were there a careless line in the page one day, the browser would refuse it."""
    page = browser.new_page(base_url=served.url)
    page.goto("/")
    for careless in (
        "document.body.innerHTML = 'a'",
        "document.write('a')",
        "document.createElement('script').text = '1'",
        "trustedTypes.createPolicy('any', {})",
    ):
        with pytest.raises(playwright.Error, match="TypeError"):
            page.evaluate(f"() => {{ {careless}; }}")
    page.close()


def test_the_page_has_no_outside_resources(served: Served, page: Any) -> None:
    page.goto("/")
    source = page.request.get("/").text()
    assert not re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", source)
    assert "{{nonce}}" not in source
