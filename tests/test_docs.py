"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("benchmarks/*.md")])
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_named_tests_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    functions = set(re.findall(r"`(test_\w+)(?:\[[^`]*\])?`", text))
    assert [name for name in functions if f"def {name}(" not in TESTS] == []
    files = set(re.findall(r"`((?:tests|docs|benchmarks|src|scripts|examples)/[\w./-]+)`", text))
    assert [name for name in files if not (ROOT / name).exists()] == []
    links = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pictures_of_the_documents_lie_in_one_folder() -> None:
    pictures = [*(ROOT / "docs").rglob("*.png")]
    assert pictures
    assert {picture.parent for picture in pictures} == {ROOT / "docs" / "images"}
