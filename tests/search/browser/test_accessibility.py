"""Phones, keyboards, screen readers, dark rooms."""

from typing import Any

import pytest

from tests.helpers.browser import TEXT, expect, search

# Contrast as WCAG 2 defines it, of every visible text with what is painted behind it.
FAINT_TEXTS = """() => {
    const parse = (colour) => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
    const background = (element) => {
        if (!element) return [255, 255, 255];
        const colour = parse(getComputedStyle(element).backgroundColor);
        return over(colour, colour[3] === 1 ? colour : background(element.parentElement));
    };
    const luminance = (colour) => {
        const linear = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = colour.map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
        const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
        return (light + 0.05) / (dark + 0.05);
    };
    const faint = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim()) continue;
        if (element.closest("[aria-hidden='true'], script, style, option")) continue;
        if (!element.checkVisibility() || !element.getClientRects().length) continue;
        const behind = background(element);
        const found = contrast(over(parse(getComputedStyle(element).color), behind), behind);
        if (found < 4.5) faint.push(`${found.toFixed(2)}: ${node.data.trim().slice(0, 40)}`);
    }
    return faint;
}"""

NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, a[href], dialog")]
    .filter((e) => !e.ariaLabel && !e.getAttribute("aria-labelledby"))
    .filter((e) => !e.labels?.length && !e.textContent.trim())
    .map((e) => e.outerHTML)"""

# What has the focus, and the outline of what stands for it on the page.
FOCUSED = """() => {
    const element = document.activeElement;
    const places = { text: element.closest(".box"), file: element.nextElementSibling };
    const shown = places[element.id] ?? element;
    return [element.id || element.className, getComputedStyle(shown).outlineStyle];
}"""


def wider_than_the_screen(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_texts_stand_out(coloured_page: Any) -> None:
    page = coloured_page
    page.goto("/")
    page.get_by_text("Filters").click()
    assert page.evaluate(FAINT_TEXTS) == []
    search(page)
    assert page.evaluate(FAINT_TEXTS) == []
    page.locator(".hit").nth(1).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate(FAINT_TEXTS) == []
    page.goto("/?q=a&folder=/nowhere")
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.evaluate(FAINT_TEXTS) == []


def test_text_stands_out_from_what_is_painted_behind_it(coloured_page: Any) -> None:
    """The words of the text area lie over the mirror, which is no ancestor of theirs."""
    page = coloured_page
    search(page)
    page.locator(".hit").nth(1).hover()
    page.evaluate(
        """() => {
            const ink = getComputedStyle(document.querySelector("#text")).color;
            for (const state of ["yes", "open", "no"]) {
                const probe = document.createElement("p");
                probe.textContent = state;
                probe.style.setProperty("color", ink);
                probe.style.setProperty("background", `var(--${state}-wash)`);
                document.body.append(probe);
            }
        }"""
    )
    assert page.evaluate(FAINT_TEXTS) == []


def test_dark_rooms_get_a_dark_page(coloured_page: Any) -> None:
    coloured_page.goto("/")
    is_dark = coloured_page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    colour = coloured_page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    brightness = sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3
    assert (brightness < 60) is is_dark


def test_everything_has_a_name(page: Any) -> None:
    search(page)
    page.locator(".hit").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate(NAMELESS) == []
    assert page.locator("html").get_attribute("lang") == "en"


def test_everything_can_be_reached_and_shows_the_focus(page: Any) -> None:
    search(page)
    page.get_by_text("Filters").click()
    page.get_by_role("link", name="Skip").focus()
    reached = []
    for _ in range(32):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        name, outline = page.evaluate(FOCUSED)
        assert outline != "none", name
        reached.append(name)
    fields = {"text", "without", "folder", "after", "before", "where", "file"}
    assert {*fields, "clear", "hit", "more"} <= set(reached)
    assert reached.count("hit") == 1, "arrows move between hits; Tab leads past them"


def test_results_are_announced(page: Any) -> None:
    search(page)
    expect(page.get_by_role("status").first).to_contain_text("Best 48 of 60 images")
    assert page.locator("#message").get_attribute("role") == "alert"


def test_a_phone_shows_everything_within_its_width(phone: Any) -> None:
    phone.goto("/")
    assert not wider_than_the_screen(phone)
    search(phone, TEXT)
    assert not wider_than_the_screen(phone)
    expect(phone.locator(".hit").first).to_be_in_viewport()
    tops = phone.locator(".hit").evaluate_all(
        "all => all.slice(0, 2).map(e => e.getBoundingClientRect().top)"
    )
    assert tops[0] == pytest.approx(tops[1], abs=1), "two images side by side"
    phone.locator(".hit").first.tap()
    dialog = phone.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.bounding_box()["width"] == 360
    assert not wider_than_the_screen(phone)
    phone.get_by_role("button", name="Close").tap()
    expect(dialog).to_be_hidden()


def test_nothing_moves_where_that_is_not_wanted(page: Any) -> None:
    page.goto("/")
    expect(page.locator(".hit").first).to_be_visible()  # what is replaced has no style
    times = page.locator("*").evaluate_all(
        "a => a.map(e => getComputedStyle(e).transitionDuration)"
    )
    assert set(times) == {"0s"}
