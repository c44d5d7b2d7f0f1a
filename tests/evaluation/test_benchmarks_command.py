"""`longclip benchmarks`, as a function."""

import json
from pathlib import Path

import pytest

from longclip.cli.benchmarks import benchmarks_command
from longclip.errors import DataError, UsageError
from longclip.evaluation.benchmarks import BENCHMARKS
from longclip.evaluation.results import write_results
from tests.evaluation.test_leaderboard import measured


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


@pytest.mark.parametrize("columns", [80, 120])
def test_published_numbers_stand_with_their_source(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in BENCHMARKS:
        benchmarks_command(name)
        assert all(len(line) <= columns for line in capsys.readouterr().out.splitlines())
    benchmarks_command("urban1k")
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith("Long-CLIP B/16")]
    name, towers, mean, to_text, to_image, note = line.rsplit(maxsplit=5)
    assert (name, towers, mean, to_text, to_image) == (
        "Long-CLIP B/16",
        "CLIP",
        "79.2",
        "78.9",
        "79.5",
    )
    assert f"{note:>3}  the Long-CLIP authors, for Urban-1k" in lines
    [line] = [line for line in lines if line.startswith("Fix-CLIP")]
    note = line.split()[-1]
    words = " ".join(" ".join(lines).split())
    assert f" {note} Fix-CLIP, ICCV 2025, best row in a list of papers; size not stated; " in words


def test_results_are_put_in_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "mine.json", [measured(960), measured(700, partial=True)])
    benchmarks_command("urban1k", results=(tmp_path / "mine.json",))
    lines = capsys.readouterr().out.splitlines()
    [place] = [i for i, line in enumerate(lines) if line.startswith("→ mine")]
    assert lines[place].split()[-4:] == ["yours", "96.0", "96.0", "96.0"]
    assert lines[place + 1].split()[0] == "DeBias-CLIP"
    assert "a part of the data that the protocol asks" in " ".join(" ".join(lines).split())

    benchmarks_command("urban1k", results=(tmp_path / "mine.json",), as_json=True)
    found = json.loads(capsys.readouterr().out)
    own = [row for row in found["leaderboard"] if row["measured"]]
    assert [(row["model"], row["mean"]) for row in own] == [("mine (mine)", pytest.approx(96.0))]
    assert len(found["not_in_it"]) == 1
    row = next(row for row in found["leaderboard"] if row["model"] == "TULIP B/16")
    assert (row["towers"], row["base"], row["second_hand"]) == ("other", "B/16", False)


def test_results_need_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--with .*needs the name of a benchmark"):
        benchmarks_command(results=(tmp_path / "mine.json",))
    with pytest.raises(UsageError, match="there is no file"):
        benchmarks_command("urban1k", results=(tmp_path / "mine.json",))


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks_command(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(BENCHMARKS)
    benchmarks_command("imagenet", as_json=True)
    row = json.loads(capsys.readouterr().out)
    assert (row["images"], row["classes"], row["suites"]) == (50_000, 1_000, ["paper", "zero-shot"])
    published = row["published"]["CLIP B/16"]
    assert (published["top1"], published["towers"], published["remark"]) == (68.4, "clip", "")


def test_unknown_name() -> None:
    with pytest.raises(DataError, match=r"no benchmark 'flickr30k'; did you mean flickr30k-"):
        benchmarks_command("flickr30k")
