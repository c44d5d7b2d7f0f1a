"""What the documents name is there."""

import re
from pathlib import Path

import pytest

from longclip.data.names import SCENE_SPLITS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("benchmarks/*.md")])
PLACEHOLDER = re.compile(r"\bNAME\b")
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_named_tests_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    functions = set(re.findall(r"`(test_\w+)(?:\[[^`]*\])?`", text))
    assert [name for name in functions if f"def {name}(" not in TESTS] == []
    files = set(re.findall(r"`((?:tests|docs|benchmarks|src|scripts|examples)/[\w./-]+)`", text))
    assert [
        name for name in files if not PLACEHOLDER.search(name) and not (ROOT / name).exists()
    ] == []
    links = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text))
    assert [link for link in links if not (page.parent / link).exists()] == []


MODULES = r"`((?:[\w-]+/)*[\w-]+\.(?:py|js|css|j2))`"
DEFINED = MODULES + r"\s+`(\w+)(?:\.(\w+))?`"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_named_modules_exist_and_define_what_is_named_with_them(page: Path) -> None:
    """`losses/pcm.py` is looked for in the root, src/longclip and below, and `pcm.py` anywhere."""
    text = page.read_text(encoding="utf-8")
    names = [name for name in re.findall(MODULES, text) if not PLACEHOLDER.search(name)]
    assert [name for name in names if not modules(name)] == []
    for name, *path in re.findall(DEFINED, text):
        [source] = {module.read_text(encoding="utf-8") for module in modules(name)}
        for defined in filter(None, path):
            found = rf"^ *(?:async )?(?:def|class) {defined}\b|^{defined}\b.* = "
            assert re.search(found, source, re.M), f"{name} does not define {defined}"


def modules(name: str) -> list[Path]:
    folders = (ROOT, ROOT / "src" / "longclip")
    here = [folder / name for folder in folders if (folder / name).exists()]
    tracked = ("src", "tests", "benchmarks", "examples", "scripts")
    return here or [path for folder in tracked for path in (ROOT / folder).rglob(name)]


def test_the_tree_of_the_architecture_page_is_that_of_the_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = page.split("```")[1]
    package = ROOT / "src" / "longclip"
    named = set(re.findall(r"^  (\w[\w/.]*?)/?  ", tree, re.M))
    there = {path.name for path in package.iterdir() if not path.name.startswith("_")}
    # The model is named with its folder.
    assert named == {*there, "models/nano"} - {"models", "py.typed"}
    folder = package
    for line in tree.splitlines():
        if top := re.match(r"  (\w+)/ ", line):
            folder = package / top[1]
        if line.startswith("  "):
            files = re.findall(r"(?<![\w*/.])[\w/]+\.py\b", line.partition("  ")[2])
            known = {str(path.relative_to(folder)) for path in folder.rglob("*.py")}
            known |= {path.name for path in package.glob("*.py")}
            assert [name for name in files if name not in known] == [], line


def test_pictures_of_the_documents_lie_in_one_folder() -> None:
    pictures = [*(ROOT / "docs").rglob("*.png")]
    assert pictures
    assert {picture.parent for picture in pictures} == {ROOT / "docs" / "images"}


def test_scenes_that_documents_and_scripts_name_are_splits() -> None:
    folders = ("docs", "examples", "benchmarks")
    files = [ROOT / "README.md", *(file for name in folders for file in (ROOT / name).rglob("*.*"))]
    found = {
        split
        for file in files
        if file.suffix in (".md", ".toml", ".py", ".sh")
        for split in re.findall(
            r"\bscenes/([a-z][a-z-]*)(?![\w/.]*\.py)", file.read_text(encoding="utf-8")
        )
    }
    assert {"train-groups", "test", "test-short"} <= found
    # The trees of the package and of the tests have folders and files of these names.
    assert found - {"texts", "pictures", "compose", "graph"} <= set(SCENE_SPLITS)
