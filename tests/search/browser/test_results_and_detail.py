"""Looking at what was found: the detail view, the keyboard, more of the same."""

from typing import Any

import pytest

from longclip.search.query.sentence_scores import LEGEND, MEANINGS, verdict
from tests.helpers.browser import TEXT, asked_by, expect, expect_words, names, search
from tests.helpers.small_database import HOSTILE, HOSTILE_CAPTION, Served


def test_a_hit_is_opened_and_closed_by_keyboard(page: Any) -> None:
    answer = search(page)
    hit = answer["hits"][2]
    page.locator(".hit").nth(2).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=hit["name"])
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text(hit["caption"])
    for fact in ("Box Brownie", "128 × 128", "33.5000° S, 151.2500° E", hit["uri"], "May", "PNG"):
        expect(page.locator("#detail-facts")).to_contain_text(fact)
    expect_words(page, {"q": [TEXT], "open": [hit["id"]]})
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".hit").nth(2)).to_be_focused()
    expect_words(page, {"q": [TEXT]})


def test_detail_says_which_sentences_fit(page: Any) -> None:
    answer = search(page)
    page.locator(".hit").nth(1).click()
    shown = page.locator("#detail-sentences li")
    expect(shown).to_have_count(3)
    scores = answer["hits"][1]["sentences"]
    for line, sentence, z in zip(shown.all(), answer["sentences"], scores, strict=True):
        assert line.get_attribute("class") == verdict(z)
        assert f"{MEANINGS[verdict(z)]}: {sentence}" in line.text_content()
        assert line.get_attribute("title").startswith(f"{MEANINGS[verdict(z)]} (z = ")


def test_the_page_judges_as_the_terminal_does_and_in_the_same_words(page: Any) -> None:
    search(page)
    legend = page.locator("#legend")
    assert legend.inner_text().split("\n") == [LEGEND, *MEANINGS.values()]
    marks = legend.locator("i").evaluate_all("all => all.map(mark => mark.classList[1])")
    assert marks == list(MEANINGS)
    scores = [-9, -0.001, 0, 0.5, 0.999, 1, 2.99, 3, 9]
    assert page.evaluate("scores => scores.map(verdictOf)", scores) == list(map(verdict, scores))


def test_detail_shows_the_original(page: Any) -> None:
    answer = search(page)
    with page.expect_response(f"**/image/{answer['hits'][0]['id']}") as original:
        page.locator(".hit").first.click()
    assert original.value.headers["content-type"] == "image/png"
    address = f"image/{answer['hits'][0]['id']}"
    expect(page.locator("#detail-image")).to_have_attribute("src", page.url.split("?")[0] + address)
    expect(page.locator("#detail-original")).to_have_attribute("href", address)


def test_arrows_turn_pages_and_back_closes(page: Any) -> None:
    shown = names_in(search(page))
    page.locator(".hit").first.click()
    title = page.locator("#detail-name")
    expect(title).to_have_text(shown[0])
    expect(page.get_by_role("button", name="Previous image")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text(shown[2])
    page.get_by_role("button", name="Previous image").click()
    expect(title).to_have_text(shown[1])
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".hit").nth(1)).to_be_focused()
    expect_words(page, {"q": [TEXT]})
    page.go_forward()
    expect(title).to_have_text(shown[1])


def test_leafing_ends_with_the_last_image(page: Any) -> None:
    shown = names_in(search(page))
    page.locator(".hit").nth(46).click()
    on = page.get_by_role("button", name="Next image")
    on.click()
    title = page.locator("#detail-name")
    expect(title).to_have_text(shown[47])
    expect(on).to_be_hidden()
    address = page.url
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text(shown[47])
    assert page.url == address
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text(shown[46])
    expect(on).to_be_visible()


def test_a_link_opens_the_image_that_was_open(page: Any) -> None:
    answer = search(page)
    address = page.url
    page.goto(f"{address}&open={answer['hits'][3]['id']}")
    expect(page.locator("#detail-name")).to_have_text(answer["hits"][3]["name"])
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect_words(page, {"q": [TEXT]})


def test_more_like_this(page: Any) -> None:
    answer = search(page)
    first = answer["hits"][0]
    page.locator(".hit").first.click()
    body = asked_by(lambda: page.get_by_role("button", name="More like this").click(), page)
    assert body["like"] == first["id"]
    assert body["text"] == ""
    expect(page.locator("#picture")).to_contain_text("More like this image")
    expect(page.locator(".hit .name").first).to_be_visible()
    assert first["name"] not in names(page)
    expect_words(page, {"like": [first["id"]]})
    page.go_back()
    expect(page.locator("#detail-name")).to_have_text(first["name"])
    expect(page.locator("#text")).to_have_value(TEXT)


def test_moving_between_hits(page: Any) -> None:
    search(page)
    page.get_by_label("Description of the picture").press("Escape")
    page.keyboard.press("ArrowDown")
    hits = page.locator(".hit")
    expect(hits.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(hits.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = focused(page)
    places = hits.evaluate_all("all => all.map(h => h.getBoundingClientRect().toJSON())")
    assert places[below]["left"] == pytest.approx(places[1]["left"], abs=1)
    assert places[below]["top"] > places[1]["top"]
    page.keyboard.press("ArrowUp")
    expect(hits.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(hits.nth(47)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(hits.nth(47)).to_be_focused()
    page.keyboard.press("Home")
    expect(hits.nth(0)).to_be_focused()
    assert page.locator(".hit[tabindex='0']").count() == 1


def test_a_slash_leads_to_the_description(page: Any) -> None:
    search(page)
    page.locator(".hit").nth(3).focus()
    page.keyboard.press("/")
    box = page.get_by_label("Description of the picture")
    expect(box).to_be_focused()
    expect(box).to_have_value(TEXT)
    page.keyboard.press("/")
    expect(box).to_have_value(TEXT + "/")


def test_hostile_names_and_captions_are_text(page: Any, served: Served) -> None:
    for text in (TEXT, '<b onmouseover="window.hacked=1">x</b><script>window.hacked=1</script>.'):
        search(page, text)
        page.get_by_role("button", name="Show more").click()
        tile = page.locator(".hit", has_text=HOSTILE)
        expect(tile).to_have_count(1)
        tile.hover()
        tile.click()
        expect(page.locator("#detail-name")).to_have_text(HOSTILE)
        expect(page.locator("#detail-caption")).to_have_text(HOSTILE_CAPTION)
        expect(page.locator("#detail-facts")).to_contain_text(HOSTILE)
        page.get_by_role("button", name="More like this").click()
        expect(page.locator("#status")).to_contain_text("Best")
    page.goto("/?q=%3Cscript%3Ewindow.hacked=1%3C/script%3E&where=%3Cimg src=x onerror=hacked=1%3E")
    expect(page.get_by_role("alert")).to_contain_text("<img src=x onerror=hacked=1>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img[onerror], dialog b[onclick]").count() == 0


def focused(page: Any) -> int:
    return int(page.evaluate("document.activeElement.dataset.index"))


def names_in(answer: dict[str, Any]) -> list[str]:
    return [hit["name"] for hit in answer["hits"]]


def test_the_buttons_stand_in_one_row_and_tiny_pictures_stay_small(page: Any) -> None:
    search(page)
    buttons = page.locator("form > .actions > .button:visible")
    expect(buttons).to_have_count(3)
    assert len({button.bounding_box()["y"] for button in buttons.all()}) == 1
    image = page.locator(".hit img").first
    image.evaluate("image => image.style.setProperty('--width', '16')")
    assert image.bounding_box()["width"] == 48
