"""`longclip benchmarks`, as a function."""

import json

import pytest

from longclip.cli.benchmarks import benchmarks_command
from longclip.errors import DataError
from longclip.evaluation.benchmarks import BENCHMARKS


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    benchmarks_command()
    out = capsys.readouterr().out
    assert all(len(line) <= columns for line in out.splitlines())
    for name in BENCHMARKS:
        assert f"\n{name} " in f"\n{out}"
    assert "suite paper: sharegpt4v-1k" in out


@pytest.mark.parametrize("name", BENCHMARKS)
def test_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks_command(name)
    out = " ".join(capsys.readouterr().out.split())
    benchmark = BENCHMARKS[name]
    for words in (benchmark.protocol, benchmark.layout, benchmark.get, benchmark.licence):
        assert " ".join(words.split()) in out


def test_published_numbers_stand_with_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks_command("urban1k")
    out = " ".join(capsys.readouterr().out.split())
    assert "Long-CLIP B/16: image_to_text R@1 78.9, text_to_image R@1 79.5 (the Long-CLIP" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks_command(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(BENCHMARKS)
    benchmarks_command("imagenet", as_json=True)
    row = json.loads(capsys.readouterr().out)
    assert (row["images"], row["classes"], row["suites"]) == (50_000, 1_000, ["paper", "zero-shot"])
    assert row["published"]["CLIP B/16"]["top1"] == 68.4


def test_unknown_name() -> None:
    with pytest.raises(DataError, match=r"no benchmark 'flickr30k'; did you mean flickr30k-"):
        benchmarks_command("flickr30k")
