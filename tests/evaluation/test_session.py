"""Several models on several collections, and the page about them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import LabelSet
from longclip.encoders.encoder import Encoder
from longclip.errors import DataError
from longclip.evaluation import EvaluateConfig
from longclip.evaluation.session import Request, named, open_requests, run_session
from longclip.evaluation.tables import print_results
from longclip.report import model_report, render_report
from tests.helpers.encoders import BagOfTokens, PaintedTexts

BEGINNING = "There is a wide street with old brick houses. " * 9
TEXTS = tuple(BEGINNING + end for end in ("A red boat.", "Two dogs.", "A tall lamp.", "Snow."))
LABELS = LabelSet("things", ("boat", "dog", "lamp", "snow"), (0, 1, 2, 3))


def requests() -> list[Request]:
    long = tuple(Captions(long=(text,)) for text in TEXTS)
    short = tuple(Captions(short=(text,)) for text in TEXTS)
    return [
        Request(PaintedTexts(TEXTS, long, name="streets")),
        Request(PaintedTexts(TEXTS, short, (LABELS,), name="others"), ("zero-shot",)),
    ]


def open_model(source: str) -> Encoder:
    return BagOfTokens(int(source))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("nano", ("nano", "nano")),
        ("mine=runs/paper/model", ("mine", "runs/paper/model")),
        ("runs/a=b/model", ("runs/a=b/model", "runs/a=b/model")),
        ("open_clip:local-dir:x=y", ("open_clip:local-dir:x=y", "open_clip:local-dir:x=y")),
        ("my model=open_clip:a/b", ("my model", "open_clip:a/b")),
    ],
)
def test_models_may_have_names(model: str, expected: tuple[str, str]) -> None:
    assert named(model) == expected


def test_every_model_is_measured_on_everything_and_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages = set()
    session = run_session(
        ["short=77", "long=248"],
        requests(),
        open_model,
        EvaluateConfig(probes=True),
        gallery=True,
        on_progress=lambda stage, done, total, note="": stages.add(stage),
    )
    found = [(r.name, r.collection, r.long is not None, list(r.zero_shot)) for r in session.results]
    assert found == [
        ("short", "streets", True, []),
        ("short", "others", False, ["things"]),
        ("long", "streets", True, []),
        ("long", "others", False, ["things"]),
    ]
    assert session.results[1].short is None, "only what was asked for"
    assert len({result.fingerprint for result in session.results}) == 2
    assert {stage.partition(",")[0] for stage in stages} == {"short", "long"}
    assert session.gallery
    assert session.gallery.gained > 0

    page = render_report(model_report(session.results, session.gallery, "longclip eval"))
    for text in ("short · long", "What recall hides", "What is taken for what", "Description 1"):
        assert text in page
    assert "image 0 of streets" in page
    assert "sha256" in page
    for key in ("lengths", "sentences", "details", "separation"):
        assert session.results[0].long
        assert key in json.dumps(session.results[0].to_json())
    print_results(session.results)
    out = capsys.readouterr().out.partition("streets: effective length")[2]
    rows = out.partition("others")[0].splitlines()
    for name, result in (("short", session.results[0]), ("long", session.results[2])):
        assert result.long
        assert result.long.probes
        curve = result.long.probes.lengths
        length = "–" if curve.effective_length is None else str(curve.effective_length)
        [row] = [line.split() for line in rows if line.split()[:1] == [name]]
        final = f"{100 * curve.text_to_image[-1]:.1f}"
        assert row == [name, length, str(curve.tokens[-1]), final]


def test_one_model_alone_has_a_page_without_a_gallery() -> None:
    config = EvaluateConfig()
    session = run_session(["77"], requests(), open_model, config, gallery=True)
    assert session.gallery is None
    page = render_report(model_report(session.results, None, ""))
    assert "tell the models apart" not in page
    assert "What recall hides" not in page


def test_two_models_of_one_name() -> None:
    with pytest.raises(ValueError, match="same name; tell them apart: NAME=MODEL"):
        run_session(["77", "77"], requests(), open_model, EvaluateConfig())


def test_data_are_benchmarks_suites_or_paths(tmp_path: Path) -> None:
    for stem in ("b", "a"):
        (tmp_path / "Urban1k" / "image").mkdir(parents=True, exist_ok=True)
        (tmp_path / "Urban1k" / "caption").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(tmp_path / "Urban1k" / "image" / f"{stem}.jpg")
        (tmp_path / "Urban1k" / "caption" / f"{stem}.txt").write_text(f"picture {stem}")
    with pytest.raises(DataError, match="1,000 images"):
        open_requests(["urban1k"], root=tmp_path)
    [request] = open_requests(["urban1k"], root=tmp_path, allow_partial=True)
    assert (request.name, request.tasks, len(request.collection)) == ("urban1k", ("long",), 2)
    assert request.opened
    assert request.opened.partial
    elsewhere = [f"urban1k={tmp_path / 'Urban1k'}", "scenes/test"]
    named_path, scenes = open_requests(elsewhere, root=Path("nowhere"), allow_partial=True)
    assert named_path.collection.captions(0) == Captions(long=("picture a",))
    assert (scenes.name, scenes.opened) == ("scenes/test", None)
    assert [r.name for r in open_requests(["scenes"], root=tmp_path)] == [
        "scenes/test",
        "scenes/test-short",
    ]
    with pytest.raises(DataError, match="sharegpt4v-1k is not in"):
        open_requests([], suite="paper", root=tmp_path)
    with pytest.raises(DataError, match="no suite 'papers', only paper, long"):
        open_requests([], suite="papers", root=tmp_path)
    with pytest.raises(DataError, match="did you mean the benchmark urban1k"):
        open_requests(["urban1"], root=tmp_path)
    (tmp_path / "bare").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "bare" / "x.png")
    with pytest.raises(DataError, match=r"bare has nothing to measure: .*--label-column"):
        open_requests([str(tmp_path / "bare")], root=tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"workers": 0}, "--workers is 0"),
        ({"max_bad_fraction": 3.0}, "--max-bad-fraction is 3.0"),
    ],
)
def test_impossible_settings_are_named(options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EvaluateConfig(**options)  # type: ignore[arg-type]


def test_copies_of_an_image_under_other_names_are_told(tmp_path: Path) -> None:
    lines = []
    for i in range(4):
        Image.new("RGB", (30, 30), (60 * (i // 2), 90, 60)).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "short": f"wall number {i}"}) + "\n")
    (tmp_path / "walls.jsonl").write_text("".join(lines))
    asked = open_requests([str(tmp_path / "walls.jsonl")], root=tmp_path)
    with pytest.warns(UserWarning, match="2 of 4 images are copies of others under another name"):
        run_session(["77"], asked, open_model, EvaluateConfig())
