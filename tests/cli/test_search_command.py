"""`longclip search`."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.cli import COLOURS, Run, run  # noqa: F401 (a fixture)

pytest.importorskip("lancedb")

from longclip import load
from longclip.search.database.schema import About, Facts, ImageRow, id_of
from longclip.search.database.store import Store
from longclip.search.query.open import open_searcher
from longclip.search.query.query import Query

TEXT = "A red wall. It rains."


@pytest.fixture(autouse=True)
def sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are only to be looked at lie here, too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three walls in two folders, and a copy of the red one."""
    place = tmp_path_factory.mktemp("database")
    model = load("nano")
    pictures = {name: Image.new("RGB", (40, 48), colour) for name, colour in COLOURS.items()}
    store = Store.create(str(place), About.of(model, "nano"))
    rows = []
    for month, folder, name in (
        (1, "a", "red"),
        (2, "a", "green"),
        (3, "b", "blue"),
        (4, "b", "red"),
    ):
        written = io.BytesIO()
        pictures[name].save(written, "JPEG")
        [vector] = model.encode_image(pictures[name], normalize=True).numpy()
        facts = Facts(
            uri=f"/walls/{folder}/{name}.png",
            source="/walls",
            folder=f"/walls/{folder}",
            name=f"{name}.png",
            sha256=name,
            bytes=99,
            width=40,
            height=48,
            taken=datetime(2024, month, 1),
        )
        rows.append(ImageRow(facts, vector, written.getvalue()))
    store.put(rows)
    return str(place)


def uris(outcome) -> list[str]:
    return [hit["uri"] for hit in outcome.json["hits"]]


def test_a_line_for_each_image_and_a_mark_for_each_sentence(run: Run, db: str) -> None:  # noqa: F811
    outcome = run("search", TEXT, "--db", db)
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "4 images searched · 9 tokens (the model reads 77)" in outcome.out
    assert "note: There are only 4 images" in outcome.out
    assert "  1  A red wall.\n  2  It rains.\n" in outcome.out
    assert "the same file: /walls/b/red.png" in outcome.out
    lines = [line.split() for line in outcome.out.splitlines() if line.endswith(".png")]
    hits = [line for line in lines if line[0] in "123"]
    assert [line[0] for line in hits] == ["1", "2", "3"]
    assert all(set(line[2]) <= set("+:.-") and len(line[2]) == 2 for line in hits)


def test_json_is_all_there_is(run: Run, db: str) -> None:  # noqa: F811
    outcome = run("search", "-", "--db", db, "-k", 2, "--json", stdin=TEXT)
    assert outcome.err == ""
    assert len(outcome.json["hits"]) == 2
    assert outcome.json["sentences"] == ["A red wall.", "It rains."]
    assert outcome.json["hits"][0]["taken"].startswith("2024-")


@pytest.mark.parametrize(
    "name", ["/walls/a/red.png", "/walls/b/../a/red.png", id_of("/walls/a/red.png")]
)
def test_more_like_an_image(run: Run, db: str, name: str) -> None:  # noqa: F811
    found = uris(run("search", "--like", name, "--db", db, "--json"))
    assert sorted(found) == ["/walls/a/green.png", "/walls/b/blue.png"]


def test_an_image_is_named_however_its_letters_are_written(run: Run, tmp_path: Path) -> None:  # noqa: F811
    for name in ("Zu\u0308rich.png", "Bern.png"):
        Image.new("RGB", (40, 48), COLOURS["blue"]).save(tmp_path / name)
    assert run("index", tmp_path, "--db", tmp_path / "db").code == 0
    outcome = run("search", "--like", tmp_path / "Z\u00fcrich.png", "--db", tmp_path / "db")
    assert outcome.code == 0, outcome.err


def test_a_picture_finds_itself(run: Run, db: str) -> None:  # noqa: F811
    Image.new("RGB", (40, 48), COLOURS["blue"]).save("query.png")
    outcome = run("search", "--image", "query.png", "--db", db, "--json")
    assert uris(outcome)[0] == "/walls/b/blue.png"
    assert outcome.json["hits"][0]["similarity"] > 0.99
    assert outcome.json["hits"][0]["sentences"] == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--folder", "/walls/b"], {"/walls/b/blue.png", "/walls/b/red.png"}),
        (["--folder", "/walls/a/../b/"], {"/walls/b/blue.png", "/walls/b/red.png"}),
        (
            ["--after", "2024-02", "--before", "2024-04"],
            {"/walls/a/green.png", "/walls/b/blue.png"},
        ),
        (
            ["--where", "name = 'red.png' OR name = 'blue.png'", "--folder", "/walls/a"],
            {"/walls/a/red.png"},
        ),
        (["--where", "bytes > 100"], set()),
    ],
)
def test_filters(run: Run, db: str, options: list[str], expected: set[str]) -> None:  # noqa: F811
    assert set(uris(run("search", "a wall", *options, "--db", db, "--json"))) == expected
    plain = run("search", "a wall", *options, "--db", db)
    assert ("no image satisfies the filter" in plain.out) is (not expected)


@pytest.mark.parametrize("options", [[], ["--where", "bytes > 100"]])
def test_an_empty_database_says_so(options: list[str], run: Run, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "photos").mkdir()
    assert run("index", tmp_path / "photos", "--db", "new").code == 0
    outcome = run("search", "a wall", *options, "--db", "new")
    assert outcome.out.endswith("\nthe database is empty\n")
    assert run("search", "a wall", *options, "--db", "new", "--json").json["empty"] is True


def test_negative_texts_and_shares_reach_the_search(run: Run, db: str) -> None:  # noqa: F811
    Image.new("RGB", (40, 48), COLOURS["blue"]).save("query.png")
    options = ("--not", "rain", "--not", "-red", "--image", "query.png", "--text-share", 0.2)
    outcome = run("search", TEXT, *options, "--no-why", "--exact", "--db", db, "--json")
    query = Query(
        TEXT,
        without=("rain", "-red"),
        image=Image.open("query.png"),
        text_share=0.2,
        score_sentences=False,
        exact=True,
    )
    expected = open_searcher(db).search(query)
    assert outcome.json["sentences"] == []
    assert uris(outcome) == [hit.facts.uri for hit in expected.hits]
    for hit, other in zip(outcome.json["hits"], expected.hits, strict=True):
        assert hit["similarity"] == pytest.approx(other.similarity, abs=1e-5)


def test_a_contact_sheet(run: Run, db: str) -> None:  # noqa: F811
    outcome = run("search", TEXT, "--db", db, "--sheet", "found.png")
    assert "written: found.png" in outcome.err
    with Image.open("found.png") as sheet:
        assert sheet.format == "PNG"


def test_open_shows_the_sheet(run: Run, db: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    shown: list[Path] = []
    monkeypatch.setattr(
        "longclip.search.query.print.show_picture", lambda path: not shown.append(path)
    )
    outcome = run("search", "--like", "/walls/a/red.png", "--db", db, "--open")
    assert outcome.code == 0
    [path] = shown
    assert outcome.err == f"written: {path}\n"
    assert Image.open(path).format == "PNG"
    assert path.parent.stat().st_mode & 0o077 == 0  # nobody else looks at what was found
    outcome = run("search", TEXT, "--db", db, "--sheet", "found.png", "--open")
    assert shown[1:] == [Path("found.png")]


def test_what_cannot_be_shown_is_still_there(
    run: Run,  # noqa: F811
    db: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("longclip.search.query.print.show_picture", lambda path: False)
    outcome = run("search", TEXT, "--db", db, "--open")
    assert outcome.code == 0
    assert outcome.err.endswith("found.png (no program on this machine shows it)\n")
    path = Path(outcome.err.removeprefix("written: ").rpartition(" (")[0])
    assert Image.open(path).format == "PNG"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a wall"], "holds no database; make one: longclip index"),
        (["a wall", "--sheet", "found.jpg"], "contact sheets are PNG files"),
        (["--image", "gone.png"], "there is no such file"),
        (["a wall", "--text-share", "0.3"], "--text-share says what a text counts for beside a"),
        (["--like", "a.png", "--text-share", "0.3"], "give a text and --image or --like"),
        (["--after", "monday", "a wall"], "'monday' is no date"),
    ],
)
def test_mistakes_before_anything_is_opened(run: Run, options: list[str], message: str) -> None:  # noqa: F811
    outcome = run("search", *options, "--db", "nothing")
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is nothing to search for"),
        (["--like", "gone.png"], "gone.png is not in"),
        (["--like", "\udcff.png"], "--like holds half a character"),
        (["a wall", "--where", "size > 3"], "the filter 'size > 3' cannot be read"),
        (["a wall", "-k", "0"], "count is 0"),
    ],
)
def test_mistakes(run: Run, db: str, options: list[str], message: str) -> None:  # noqa: F811
    outcome = run("search", *options, "--db", db)
    assert (outcome.code, outcome.out) == (1, "")
    assert message in outcome.err


def test_another_model_is_refused(run: Run, db: str) -> None:  # noqa: F811
    run("stretch", "nano", "longer")
    outcome = run("search", "a wall", "--db", db, "--model", "longer")
    assert outcome.code == 1
    assert "was indexed with nano, and longer is another model" in outcome.err


def test_nothing_is_in_the_working_directory(run: Run, db: str) -> None:  # noqa: F811
    run("search", TEXT, "--db", db, "--json")
    assert list(Path().iterdir()) == []
