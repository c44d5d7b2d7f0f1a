"""`longclip average`."""

from pathlib import Path

import pytest
import torch

import longclip
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.models import small_clip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    longclip.save(small_clip(), folder / "original", dtype=torch.bfloat16)
    longclip.save(longclip.stretch(small_clip(seed=3)), folder / "tuned")
    return folder


def test_average(run: Run, models: Path) -> None:  # noqa: F811
    tuned, original = models / "tuned", models / "original"
    outcome = run("average", tuned, original, "mixed", "--share", 0.25)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"0.75 × {tuned} + 0.25 × {original} → mixed\n"
    mixed = longclip.load("mixed", dtype=None)
    assert mixed.context_length == 248
    assert mixed.dtype == torch.float32, "that of the tuned model"
    weights = [
        longclip.load(path).state_dict()["text_projection.weight"] for path in (tuned, original)
    ]
    expected = 0.75 * weights[0] + 0.25 * weights[1]
    torch.testing.assert_close(mixed.state_dict()["text_projection.weight"], expected)
    card = Path("mixed/README.md").read_text()
    assert "| fine-tuned model | tuned |" in card
    assert "| share of the original | 0.25 |" in card
    assert "248 (averaged from models of 248 and 77)" in card


def test_as_json(run: Run, models: Path) -> None:  # noqa: F811
    words = ("average", models / "tuned", models / "original", "mixed", "--json")
    assert run(*words).json == {
        "tuned": str(models / "tuned"),
        "original": str(models / "original"),
        "destination": "mixed",
        "share": 0.5,
        "context_length": 248,
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("tuned", "original", "--share", "1.5"), "--share is 1.5, must be from 0 to 1"),
        (("original", "tuned"), "stretch the tuned one first"),
        (("tuned", "gone"), "no model"),
    ],
)
def test_mistakes(words: tuple[str, ...], says: str, run: Run, models: Path) -> None:  # noqa: F811
    first, second, *options = words
    outcome = run("average", models / first, models / second, "mixed", *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert says in outcome.err
    assert not Path("mixed").exists()


def test_foreign_folders_are_left_alone(run: Run, models: Path) -> None:  # noqa: F811
    Path("work").mkdir()
    Path("work/notes.txt").write_text("mine")
    outcome = run("average", models / "tuned", models / "original", "work")
    assert outcome.code == 1
    assert Path("work/notes.txt").read_text() == "mine"
