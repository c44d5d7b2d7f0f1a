"""`longclip index` as it is typed."""

from pathlib import Path

import pytest
from PIL import Image

from longclip.model import save
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.models import small_clip

pytest.importorskip("lancedb")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Options for a small model and a database."""
    save(small_clip(), tmp_path / "model")
    return ["--db", str(tmp_path / "db"), "--model", str(tmp_path / "model")]


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (40, 30), (10 * i, 99, 0)).save(folder / f"{i}.png")
    return folder


def test_index_and_status(run: Run, tmp_path: Path, words: list[str]) -> None:  # noqa: F811
    folder = pictures(tmp_path / "photos", 4)
    outcome = run("index", folder, *words)
    assert outcome.code == 0, outcome.err
    assert "4 images found: 4 added" in outcome.out
    assert "4 images in the database\n" in outcome.out
    db = words[:2]
    again = run("index", *db)
    assert "4 images found: 4 unchanged" in again.out, "the model is that of the database"
    found = run("index", *db, "--status", "--json").json
    assert (found["images"], found["sources"]) == (4, {str(folder): 4})
    assert found["about"]["model"] == words[3]
    assert "4 images, 4 of them different" in run("index", *db, "--status").out
    assert "4 images of" in run("index", *db, "--forget", folder).err
    assert run("index", *db, "--status", "--json").json["sources"] == {}


def test_without_a_model_it_says_what_nano_is(run: Run, tmp_path: Path, words: list[str]) -> None:  # noqa: F811
    folder = pictures(tmp_path / "photos", 1)
    outcome = run("index", folder, *words[:2])
    assert "note: without --model this is nano, which knows drawings" in outcome.err
    assert "model nano (" in run("index", *words[:2], "--status").out
    assert "note" not in run("index", folder, *words[:2]).err, "it is the database's by now"


def test_json(run: Run, tmp_path: Path, words: list[str]) -> None:  # noqa: F811
    outcome = run("index", pictures(tmp_path / "photos", 2), *words, "--json")
    assert (outcome.json["added"], outcome.json["bad"]) == (2, [])


def test_too_many_bad_images_are_exit_code_1(
    run: Run,  # noqa: F811
    tmp_path: Path,
    words: list[str],
) -> None:
    folder = pictures(tmp_path / "photos", 3)
    name = "a\x1b[31m\nb.png"
    (folder / name).write_bytes(b"no image")
    outcome = run("index", folder, *words)
    assert outcome.code == 1
    assert "1 of 4 images could not be used, more than --max-bad-fraction 0.1" in outcome.err
    assert "3 images in the database" in outcome.out
    assert "\x1b" not in outcome.out
    assert r"a\x1b[31m\nb.png: not an image of a format that is read" in outcome.out
    assert run("index", folder, *words, "--max-bad-fraction", "0.5").code == 0


@pytest.mark.parametrize("more", [[], ["--rebuild"]])
def test_a_model_that_has_moved_is_to_be_named(
    run: Run,  # noqa: F811
    tmp_path: Path,
    words: list[str],
    more: list[str],
) -> None:
    folder, db = pictures(tmp_path / "photos", 2), words[:2]
    assert run("index", folder, *words).code == 0
    (tmp_path / "model").rename(tmp_path / "moved")
    outcome = run("index", *db, *more)
    assert outcome.code == 1
    assert "cannot be opened here" in outcome.err
    assert outcome.err.endswith("Say with --model where it is\n")
    assert run("index", *db, *more, "--model", tmp_path / "moved").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone"], "no such file or folder"),
        ([], "holds no database; make one"),
        (["--status"], "holds no database; make one"),
        (["photos", "--status"], "--status and --forget stand alone"),
        (["--status", "--forget", "photos"], "--status and --forget stand alone"),
    ],
)
def test_what_cannot_be_done(
    arguments: list[str],
    says: str,
    run: Run,  # noqa: F811
    tmp_path: Path,
) -> None:
    outcome = run("index", *arguments, "--db", "db")
    assert outcome.code == 1
    assert says in outcome.err
    assert list(Path().iterdir()) == []
