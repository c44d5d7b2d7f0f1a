"""What was taken for what, in a run's first lines."""

from pathlib import Path

import pytest

from longclip.data import open_collection, open_for_evaluation, open_training_data
from longclip.data.summary import summarise
from tests.helpers.table_files import write_jsonl, write_png

datasets = pytest.importorskip("datasets")

PARAGRAPH = "A red boat lies on a beach. " + "Behind it stand houses with white walls. " * 12


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, *rows: dict[str, object]) -> Path:
    for number in range(4):
        write_png(path.parent / f"{number}.png", "red")
    return write_jsonl(path, *rows)


def lines(path: Path) -> list[str]:
    return [str(summary) for summary in summarise(open_collection(path), labels=True)]


def test_a_caption_per_row(tmp_path: Path) -> None:
    rows = [{"image": f"{i % 2}.png", "caption": "a dog " + "runs " * i} for i in range(6)]
    [line] = lines(write(tmp_path / "set/t.jsonl", *rows))
    assert line == (
        "set/t: 2 pictures from 6 rows; short: caption (3 each, median 4 tokens), long: none → "
        "joined"
    )


def test_a_column_of_paragraphs(tmp_path: Path) -> None:
    rows = [{"image": f"{i}.png", "text": PARAGRAPH} for i in range(2)]
    rows += [{"image": "2.png", "text": ""}, {"image": "3.png", "text": "one dog"}]
    [line] = lines(write(tmp_path / "set/t.jsonl", *rows[:2]))
    assert line == (
        "set/t: 2 pictures; short: none → first sentence of the long text, long: text (median 104 "
        "tokens)"
    )
    [line] = lines(write(tmp_path / "set/u.jsonl", *rows))
    assert line == (
        "set/u: 4 pictures; short: text (median 2 tokens), long: text (median 104 tokens); 1 "
        "without a text"
    )


def test_labels_and_what_is_left_out(tmp_path: Path) -> None:
    rows = [{"image": f"{i}.png", "label": name} for i, name in enumerate(("ant", "bee", "ant"))]
    [line] = lines(write(tmp_path / "set/t.jsonl", *rows))
    assert line == "set/t: 3 pictures; labels: label (2 classes)"
    captioned = [{"image": f"{i}.png", "short": "a"} for i in (3, 8)]
    found = open_collection(write(tmp_path / "set/u.jsonl", *captioned), images=[tmp_path / "set"])
    [summary] = summarise(found)
    assert summary.lines()[0] == (
        "set/u: 1 picture; short: short (median 1 token), long: none → the short one"
    )
    assert summary.lines()[1].startswith("set/u: 1 of 2 rows left out: no such picture (8.png) in")


def test_pictures_in_several_sources_of_a_mixture_are_told(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", {"image": "0.png", "short": "a"})
    (tmp_path / "mix.toml").write_text('[[source]]\ndata = "t.jsonl"\n' * 2)
    [mixture] = open_for_evaluation(tmp_path / "mix.toml")
    lines = [line for summary in summarise(mixture) for line in summary.lines()]
    assert sum("1 picture is in more than one source" in line for line in lines) == 1


def test_each_part_of_a_mixture_and_an_even_choice_of_many(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", {"image": "0.png", "short": "a"}, {"image": "1.png", "long": "b"})
    (tmp_path / "mix.toml").write_text(
        '[[source]]\ndata = "t.jsonl"\nlimit = 1\n[[source]]\ndata = "scenes/val"'
    )
    first, second = map(str, summarise(open_training_data([tmp_path / "mix.toml"])))
    assert first.endswith("t: 1 picture; short: short (median 1 token), long: none → the short one")
    assert second.startswith("scenes/val: ")
    assert summarise(open_collection("scenes/train"))[0].looked_at == 500
    assert "; counted in 500 pictures, evenly spread" in str(
        summarise(open_collection("scenes/train"))[0]
    )
