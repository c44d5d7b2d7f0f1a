"""The files of the page, and the one response that is made of them."""

import re
from importlib import resources

import pytest

pytest.importorskip("fastapi", reason='the service needs pip install "longclip[search]"')

from longclip.search import query
from longclip.search.query import sentence_scores
from longclip.search.service import search_api
from longclip.search.service.server import render_page

FILES = resources.files("longclip.search.service") / "page"
HTML, STYLE = ((FILES / name).read_text(encoding="utf-8") for name in ("index.html", "page.css"))
SCRIPTS = [
    (FILES / name).read_text(encoding="utf-8") for name in re.findall(r'src="(\w+\.js)"', HTML)
]
SCRIPT = "".join(SCRIPTS)


def test_one_response_holds_all_files_and_refers_to_none() -> None:
    joined = render_page("N0nce")
    assert f'<style nonce="N0nce">\n{STYLE}</style>' in joined
    for script in SCRIPTS:
        assert f'<script nonce="N0nce">\n{script}</script>' in joined
    assert not re.findall(r'rel="stylesheet"|src="\w|\{\{nonce', joined)
    assert len(joined) < len(HTML + STYLE + SCRIPT) + 100
    assert {file.name for file in FILES.iterdir() if file.name.endswith(".js")} == set(
        re.findall(r'src="(\w+\.js)"', HTML)
    )


def test_nothing_in_style_or_script_ends_its_element_early() -> None:
    assert "</" not in STYLE
    assert not re.search(r"</?script|<!--", SCRIPT, re.IGNORECASE)


def test_every_element_that_the_script_asks_for_is_in_the_markup() -> None:
    ids = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r'byId\("([\w-]+)"', SCRIPT))
    assert len(asked) > 20
    assert asked <= set(ids)


def test_every_name_of_the_scripts_and_every_class_of_the_style_is_used() -> None:
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", SCRIPT, re.MULTILINE)
    assert len(names) == len(set(names)), "the scripts share their names"
    code = re.sub(r"//.*", "", re.sub(r"/\*.*?\*/", "", SCRIPT, flags=re.DOTALL))
    assert [name for name in names if len(re.findall(rf"\b{name}\b", code)) < 2] == []
    selectors = re.findall(r"^\s*([^@/{}\n]+)\{", STYLE, re.MULTILINE)
    classes = set(re.findall(r"\.([a-z][\w-]*)", " ".join(selectors)))
    assert len(classes) > 40
    assert [name for name in classes if not re.search(rf'["\s`]{name}["\s`:]', HTML + SCRIPT)] == []


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
    assert f'maxlength="{query.MAX_TEXT_CHARACTERS}"' in HTML
    assert constant("SATISFIED") == sentence_scores.SATISFIED
    assert constant("OUTSTANDING") == sentence_scores.OUTSTANDING
    assert constant("UNSATISFIED") == sentence_scores.UNSATISFIED
    states = dict(re.findall(r'(yes|some|open|no): \[".", "([\w ]+)"\]', SCRIPT))
    assert states == sentence_scores.MEANINGS
    assert f"<span>{sentence_scores.LEGEND}</span>" in HTML
    request = search_api.SearchRequest.model_json_schema()["properties"]
    assert constant("MAX_HITS") == request["offset"]["maximum"]
    assert constant("PAGE_SIZE") <= request["k"]["maximum"]
    assert constant("DEFAULT_SHARE") == request["text_share"]["default"]
