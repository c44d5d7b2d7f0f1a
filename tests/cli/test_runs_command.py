"""`longclip runs`."""

import json
import time
from pathlib import Path

import pytest

from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.runs import line, lines_to, make_run, measured


@pytest.fixture
def runs(run: Run) -> Path:  # noqa: F811
    """In the empty folder that commands are run in."""
    now = time.time()
    done = [*lines_to(100), measured(50, 0.65), measured(100, 0.61)]
    make_run(Path("runs/paper"), done, model=True, seed=3)
    going = [*lines_to(40), measured(40, 0.5), measured(40, 0.4, "coco short T2I R@1")]
    make_run(Path("runs/going"), going, written=now, recipe="direct", state="running")
    make_run(Path("runs/dead"), lines_to(40), written=now - 7200, checkpoint=30)
    return Path("runs")


def cells(out: str, name: str) -> list[str]:
    [found] = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return found.split()


def row(out: str, name: str) -> str:
    return " ".join(cells(out, name))


def test_a_table_of_all_runs(run: Run, runs: Path) -> None:  # noqa: F811
    outcome = run("runs")
    assert (outcome.code, outcome.err) == (0, "")
    head = outcome.out.splitlines()[1]
    assert "val long T2I R@1" in head
    assert row(outcome.out, "paper") == ("paper finished paper 100 2.010 61.0 16 10.0% 50 s")
    assert "best 65.0 at 50" in outcome.out
    assert row(outcome.out, "going") == (
        "going running direct 40 of 100 2.025 50.0 16 10.0% 20 s 30 s"
    )
    assert row(outcome.out, "dead") == ("dead killed paper 40 of 100 2.025 – 16 10.0% 20 s")
    assert "dead: killed (last written 2 h 00 ago); --resume goes on from step 30\n" in outcome.out
    assert "also measured (--metric): coco short T2I R@1\n" in outcome.out


def test_without_evaluations_and_running_ones_their_columns_go(run: Run) -> None:  # noqa: F811
    make_run(Path("done"), lines_to(100), model=True)
    out = run("runs", "done").out
    heading = " ".join(out.splitlines()[1].split())
    assert heading == "run state recipe steps loss pairs/s data wait time"


def test_another_metric(run: Run, runs: Path) -> None:  # noqa: F811
    out = run("runs", "--metric", "coco short T2I R@1").out
    assert "40.0" in cells(out, "going")
    wrong = run("runs", "--metric", "coco long T2I R@1")
    assert wrong.code == 1
    assert "none of these runs has measured it; there is 'coco short T2I R@1'" in wrong.err
    wrong = run("runs", runs / "dead", "--metric", "x")
    assert "they were not evaluated" in wrong.err


def test_runs_side_by_side(run: Run, runs: Path) -> None:  # noqa: F811
    out = run("runs", "runs/paper", "runs/going", "--compare").out
    compared = out[out.index("settings that differ") :]
    assert cells(compared, "seed") == ["seed", "0", "3"]
    assert cells(compared, "recipe") == ["recipe", "direct", "paper"]
    assert cells(compared, "loss") == ["loss", "2.025", "2.01"]
    assert "batch_size" not in compared
    assert "coco short T2I R@1" in compared


def test_runs_that_do_not_fit_side_by_side_come_in_blocks(run: Run) -> None:  # noqa: F811
    for i in range(30):
        make_run(Path(f"runs/run-{i}"), lines_to(10), seed=i, model_name="m" * 40)
    out = run("runs", "--compare").out
    seeds = [row.split()[1:] for row in out.splitlines() if row.split()[:1] == ["seed"]]
    assert len(seeds) > 1
    assert [int(seed) for row in seeds for seed in row] == list(range(30))
    assert max(map(len, out.splitlines())) <= 200


def test_json_has_everything(run: Run, runs: Path) -> None:  # noqa: F811
    make_run(Path("runs/nan"), [line(10, loss=float("nan"))], state="running")
    outcome = run("runs", "--json")
    assert "NaN" not in outcome.out
    found = {entry["name"]: entry for entry in outcome.json}
    assert list(found) == ["dead", "going", "nan", "paper"]
    paper = found["paper"]
    assert paper["state"] == "finished"
    assert paper["path"] == "runs/paper"
    assert paper["config"]["seed"] == 3
    assert paper["evaluation"] == {
        "val long T2I R@1": {
            "last": {"step": 100, "value": 0.61},
            "best": {"step": 50, "value": 0.65},
        }
    }
    assert (found["dead"]["checkpoint"], found["dead"]["seconds_left"]) == (30, None)
    assert found["going"]["seconds_left"] == pytest.approx(30)
    assert found["nan"]["last"]["loss"] is None
    assert found["nan"]["notes"] == ["the loss is no longer a number"]


@pytest.mark.parametrize("name", ["curves.svg", "new/curves.html"])
def test_a_plot(name: str, run: Run, runs: Path) -> None:  # noqa: F811
    outcome = run("runs", "--plot", name)
    assert outcome.code == 0
    assert outcome.out.endswith(f"written: {name}\n")
    assert "<polyline" in Path(name).read_text(encoding="utf-8")
    piped = run("runs", "--plot", name, "--json")
    assert json.loads(piped.out)


def test_mistakes(run: Run, runs: Path) -> None:  # noqa: F811
    wrong = run("runs", "--plot", "curves.png")
    assert (wrong.code, wrong.out) == (1, "")
    assert "name a file that ends in .html or .svg" in wrong.err
    wrong = run("runs", "elsewhere")
    assert wrong.code == 1
    assert "elsewhere is no directory; name a directory that `longclip train --out`" in wrong.err


def test_names_are_no_markup(run: Run) -> None:  # noqa: F811
    make_run(Path("runs/[bold]x"), lines_to(10))
    assert "[bold]x" in run("runs").out
    assert "[bold]x" in run("runs", "--compare").out


def test_it_takes_no_torch(runs: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; sys.argv = ['longclip', 'runs', '--compare']\n"
        "from longclip.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
