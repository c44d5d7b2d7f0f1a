"""The page's three files, and the one response that is made of them."""

import re
from importlib import resources

import pytest

pytest.importorskip("fastapi", reason='the service needs pip install "longclip[search]"')

from longclip.search.query import sentence_scores
from longclip.search.service import request_limits, search_api
from longclip.search.service.server import render_page

FILES = resources.files("longclip.search.service") / "page"
HTML, STYLE, SCRIPT = (
    (FILES / name).read_text(encoding="utf-8") for name in ("index.html", "page.css", "page.js")
)


def test_one_response_holds_the_three_files_and_refers_to_none() -> None:
    joined = render_page("N0nce")
    assert f'<style nonce="N0nce">\n{STYLE}</style>' in joined
    assert f'<script nonce="N0nce">\n{SCRIPT}</script>' in joined
    assert not re.findall(r'rel="stylesheet"|src="\w|\{\{nonce', joined)
    assert len(joined) < len(HTML + STYLE + SCRIPT) + 100


def test_nothing_in_style_or_script_ends_its_element_early() -> None:
    assert "</" not in STYLE
    assert not re.search(r"</?script|<!--", SCRIPT, re.IGNORECASE)


def test_every_element_that_the_script_asks_for_is_in_the_markup() -> None:
    ids = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'byId\("([\w-]+)"', SCRIPT))
    assert len(asked) > 20
    assert asked <= set(ids)


def fields(type_name: str) -> set[str]:
    """Return the properties of a type that the script declares."""
    [declared] = re.findall(rf"@typedef {{object}} {type_name}\n(.*?)\n \*\n", SCRIPT, re.DOTALL)
    return set(re.findall(r"@property {.*} (\w+)", declared))


def test_the_types_that_the_script_declares_are_the_servers() -> None:
    assert fields("About") <= set(search_api.AboutAnswer.model_fields)
    assert fields("TokenCount") == set(search_api.TokensAnswer.model_fields)
    assert fields("Hit") <= set(search_api.HitAnswer.model_fields)
    assert fields("SearchAnswer") <= set(search_api.SearchAnswer.model_fields)


def constant(name: str) -> float:
    [value] = re.findall(rf"^const {name} = ([\d_.]+);", SCRIPT, re.MULTILINE)
    return float(value)


def test_page_and_server_agree_on_bounds_and_words() -> None:
    assert f'maxlength="{request_limits.MAX_TEXT_CHARACTERS}"' in HTML
    assert constant("SATISFIED") == sentence_scores.SATISFIED
    assert constant("UNSATISFIED") == sentence_scores.UNSATISFIED
    states = dict(re.findall(r'(yes|open|no): \[".", "([\w ]+)"\]', SCRIPT))
    assert states == sentence_scores.MEANINGS
    request = search_api.SearchRequest.model_json_schema()["properties"]
    assert constant("MAX_HITS") == request["offset"]["maximum"]
    assert constant("PAGE_SIZE") <= request["k"]["maximum"]
    assert constant("DEFAULT_SHARE") == request["text_share"]["default"]
