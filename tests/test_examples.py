"""The examples for training, evaluation and search run; tests/diffusion has those for diffusion."""

import re
import runpy
from pathlib import Path

import pytest

import longclip
from tests.helpers.cli import write_walls
from tests.helpers.models import small_clip

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A directory with `model`, a small CLIP, and `walls`, a few captioned pictures."""
    longclip.save(small_clip(), tmp_path / "model")
    write_walls(tmp_path / "walls", 8)
    return tmp_path


def run_example(script: str, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", [script, *map(str, words)])
    runpy.run_path(str(EXAMPLES / script))


def test_train(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--model",
        small / "model",
        "--data",
        "scenes/train-groups",
        "--test",
        small / "walls" / "walls.jsonl",
    )
    sizes = ("--steps", 2, "--batch-size", 4, "--out", small / "run")
    run_example("train.py", monkeypatch, *words, *sizes)
    printed = capsys.readouterr().out
    assert "step 2 of 2, loss " in printed
    assert printed.splitlines()[-1].startswith("248 (1, ")
    assert longclip.load(small / "run" / "model").context_length == 248


def test_evaluate(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    longclip.save(longclip.stretch(small_clip(), 248), small / "longer")
    models = ("--model", small / "model", "--model", small / "longer")
    data = ("--data", small / "walls" / "walls.jsonl", "--out", small / "out")
    run_example("evaluate.py", monkeypatch, *models, *data)
    printed = capsys.readouterr().out
    assert f"  {small / 'longer'}: text → image R@1 " in printed
    assert (small / "out" / "report.html").is_file()


def test_search(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lancedb")
    words = ("--model", small / "model", "--images", small / "walls", "--out", small / "out")
    run_example("search.py", monkeypatch, *words, "--count", 3)
    printed = capsys.readouterr().out
    assert "8 images, 8 embedded, 0 could not be used" in printed
    assert len(re.findall(r"^-?\d\.\d{3}  /.*walls/", printed, re.M)) == 6
