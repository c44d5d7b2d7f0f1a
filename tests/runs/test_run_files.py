"""Runs as their files tell."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.runs.run import (
    differing_settings,
    duration,
    find_runs,
    last_metrics,
    metrics_of,
    read_run,
    setting_text,
)
from longclip.runs.run_files import read_metrics
from longclip.training import train
from tests.helpers.runs import CONFIG, line, lines_to, make_run, measured
from tests.helpers.training import tiny_config, write_photos

NOW = 1_800_000_000.0
HOUR = 3600.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos", 20)


def test_a_real_run(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    run = read_run(config.out)
    assert (run.state, run.step, run.total_steps, run.name) == ("finished", 5, 5, "run")
    assert [values["step"] for values in run.lines] == [1, 2, 3, 4, 5]
    assert run.last["loss"] > 0
    assert run.pairs_per_second
    assert run.data_wait is not None
    assert 0 <= run.data_wait < 1
    assert run.notes == ()


# States


def test_a_run_whose_writer_lives_is_running(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", lines_to(40), written=NOW - 60, state="running")
    run = read_run(path, now=NOW)
    assert run.state == "running"
    assert run.notes == ()
    assert run.seconds_left == pytest.approx(60 * 0.5)
    assert run.pairs_per_second == pytest.approx(16)
    assert run.data_wait == pytest.approx(0.1)


def test_a_run_whose_writer_is_dead_says_how_it_ended_and_where_it_goes_on(tmp_path: Path) -> None:
    old = NOW - HOUR
    killed = make_run(tmp_path / "a", lines_to(40), checkpoint=30, written=old)
    run = read_run(killed, now=NOW)
    assert (run.state, run.seconds_left) == ("killed", None)
    assert run.notes == ("killed (last written 1 h 00 ago); --resume goes on from step 30",)
    failed = make_run(
        tmp_path / "b", lines_to(40), written=old, state="failed", reason="no pictures"
    )
    run = read_run(failed, now=NOW)
    assert run.state == "failed"
    assert run.notes == ("no pictures (last written 1 h 00 ago); there is no checkpoint",)
    run = read_run(make_run(tmp_path / "c", written=old, state="stopped"), now=NOW)
    assert run.state == "stopped"
    (tmp_path / "a" / "writer.json").write_text("")
    assert read_run(killed, now=NOW).state == "killed"
    (tmp_path / "a" / "writer.json").unlink()
    assert read_run(killed, now=NOW).state == "stopped"


def test_a_running_run_that_is_silent_for_long_may_hang(tmp_path: Path) -> None:
    lines = [line(step, seconds=100.0 * step) for step in (10, 20, 30)]
    path = make_run(tmp_path / "run", lines, written=NOW - 4000, state="running")
    assert read_run(path, now=NOW).notes == ()
    run = read_run(path, now=NOW + 2000)
    assert run.state == "running"
    [note] = run.notes
    assert "process 4321 on elsewhere since 2026-01-02 03:04:05 lives, but may hang" in note


def test_before_the_first_line(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", written=NOW - 600, state="running")
    run = read_run(path, now=NOW)
    assert (run.state, run.step, run.last, run.seconds, run.data_wait) == (
        "running",
        0,
        {},
        0,
        None,
    )
    assert (run.pairs_per_second, run.seconds_left) == (None, None)
    (path / "metrics.jsonl").unlink()
    assert read_run(path, now=NOW).state == "running"


def test_a_model_makes_it_finished_whatever_the_clock_says(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", lines_to(100), model=True, written=NOW - HOUR)
    assert read_run(path, now=NOW).state == "finished"
    # As after a copy that keeps no times.
    os.utime(path / "metrics.jsonl", (NOW, NOW))
    assert read_run(path, now=NOW).state == "finished"


def test_a_run_that_counts_by_epochs(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", lines_to(70), model=True, written=NOW - HOUR, steps=0)
    run = read_run(path, now=NOW)
    assert (run.state, run.total_steps) == ("finished", 70)
    going = make_run(tmp_path / "going", lines_to(70), written=NOW, steps=0, state="running")
    run = read_run(going, now=NOW)
    assert (run.state, run.total_steps, run.seconds_left) == ("running", None, None)
    told = [values | {"total_steps": 140} for values in lines_to(70)]
    path = make_run(tmp_path / "told", told, written=NOW, steps=0, state="running")
    run = read_run(path, now=NOW)
    assert (run.total_steps, run.seconds_left) == (140, pytest.approx(35))


def test_the_last_evaluation_comes_after_the_model(tmp_path: Path) -> None:
    lines = [*lines_to(70), measured(70, 0.5) | {"final": True}]
    path = make_run(tmp_path / "run", lines, model=True, written=NOW - HOUR, steps=0)
    os.utime(path / "metrics.jsonl", (NOW, NOW))
    assert read_run(path, now=NOW).state == "finished"


def test_the_model_of_an_earlier_run_in_the_same_place_does_not_count(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", lines_to(20), model=True, written=NOW - HOUR, state="killed")
    for name in ("config.json", "metrics.jsonl"):
        os.utime(path / name, (NOW, NOW))
    assert read_run(path, now=NOW).state == "killed"


def test_a_loss_that_is_no_number_is_noted(tmp_path: Path) -> None:
    lines = [*lines_to(30), line(40, loss=float("nan"))]
    run = read_run(make_run(tmp_path / "run", lines, written=NOW, state="running"), now=NOW)
    assert run.notes == ("the loss is no longer a number",)


# Metrics


def test_a_line_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "run", lines_to(40), written=NOW, tail='{"step": 50, "lo', state="running"
    )
    run = read_run(path, now=NOW)
    assert (run.step, run.unreadable, run.notes) == (40, 0, ())


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    tail = '\n{"step": "x"}\n[1]\n{"step": NaN}\n{"loss": 1}\n\xff\n' + json.dumps(line(50)) + "\n"
    path = make_run(tmp_path / "run", lines_to(40), written=NOW, tail=tail, state="running")
    run = read_run(path, now=NOW)
    assert (run.step, run.unreadable) == (50, 6)
    assert run.notes == ("6 lines of metrics.jsonl cannot be read",)


def test_steps_that_were_done_again_count_once(tmp_path: Path) -> None:
    first = [*lines_to(20), measured(20, 0.1), *lines_to(40)[2:], measured(40, 0.2)]
    again = [line(30, loss=7.0), line(40, loss=8.0), measured(40, 0.3)]
    run = read_run(make_run(tmp_path / "run", first + again))
    assert [values["step"] for values in run.lines] == [10, 20, 30, 40]
    assert [values["loss"] for values in run.lines[2:]] == [7.0, 8.0]
    assert run.measured("val long T2I R@1") == [(20, 0.1), (40, 0.3)]


steps = st.integers(0, 6)
entries = st.lists(st.tuples(steps, st.booleans()))


@given(entries)
def test_metrics_come_out_by_step(tmp_path_factory: pytest.TempPathFactory, written: list) -> None:
    """Whatever was written in whatever order: each step once, the last word on it."""
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    rows = [
        {"step": s, "evaluation": {"v": n}} if evaluation else {"step": s, "v": n}
        for n, (s, evaluation) in enumerate(written)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_metrics(path)
    line_steps = [values["step"] for values in found.lines]
    evaluated = [e.step for e in found.evaluations]
    assert line_steps == sorted(set(line_steps))
    assert evaluated == sorted(set(evaluated))
    for values in found.lines:
        later = [n for n, (s, e) in enumerate(written) if not e and s <= values["step"]]
        assert values["v"] == later[-1], "no later line goes back to it or before"
    if written and not written[-1][1]:
        assert line_steps[-1] == written[-1][0]


def test_only_numbers_are_kept(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", [line(10, note="x", flag=True, nested={"a": 1})])
    assert read_run(path).last == line(10)


def test_evaluations_of_one_step_are_one(tmp_path: Path) -> None:
    """The finished model is measured again, and a resumed run may be asked for more."""
    lines = [line(10), measured(10, 0.1), measured(10, 0.2, "other"), measured(10, 0.3)]
    [found] = read_run(make_run(tmp_path / "run", lines)).evaluations
    assert (found.step, found.values) == (10, {"val long T2I R@1": 0.3, "other": 0.2})


def test_the_best_evaluation_and_the_last(tmp_path: Path) -> None:
    lines = [line(10), measured(10, 0.4), line(20), measured(20, 0.6), measured(30, 0.6)]
    run = read_run(make_run(tmp_path / "run", [*lines, measured(40, 0.5)]))
    assert run.best("val long T2I R@1") == (20, 0.6)
    assert run.measured("val long T2I R@1")[-1] == (40, 0.5)
    assert run.best("other") is None


def test_the_pace_of_a_running_run_is_that_of_its_last_lines(tmp_path: Path) -> None:
    slow = [line(s, seconds=10.0 * s) for s in range(1, 31)]
    fast = [line(s, seconds=300.0 + (s - 30)) for s in range(31, 61)]
    path = make_run(tmp_path / "run", [*slow, *fast], written=NOW, state="running")
    assert read_run(path, now=NOW).seconds_left == pytest.approx(40)
    assert read_run(path, now=NOW).pairs_per_second == pytest.approx(8)
    killed = read_run(make_run(tmp_path / "killed", [*slow, *fast]))
    assert killed.pairs_per_second == pytest.approx(8 * 60 / 330)


# Finding


def test_runs_are_found_below_a_directory_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("paper-10", "paper-9", "deep/er/direct"):
        make_run(tmp_path / name, lines_to(100), model=True)
    make_run(tmp_path / ".hidden")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "metrics.jsonl").write_text(json.dumps(line(10)))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"recipe": ')
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "config.json").write_text("[]")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    names = [run.name for run in find_runs([tmp_path])]
    assert names == ["deep/er/direct", "paper-9", "paper-10"], "numbers by value"


def test_a_run_that_is_named_twice_is_listed_once(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs" / "a", lines_to(10))
    [run] = find_runs([path, tmp_path, path / ".." / "a"])
    assert run.name == "a"


def test_names_tell_runs_of_different_places_apart(tmp_path: Path) -> None:
    for name in ("x/a", "y/a"):
        make_run(tmp_path / name)
    names = [run.name for run in find_runs([tmp_path / "x", tmp_path / "y" / "a"])]
    assert names == ["x/a", "y/a"]


def test_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run; name a directory that `longclip train"):
        find_runs([tmp_path])
    with pytest.raises(ValueError, match="is no directory"):
        find_runs([tmp_path / "missing"])
    with pytest.raises(ValueError, match="holds no run"):
        read_run(tmp_path)


def test_a_run_that_vanishes_meanwhile_is_no_crash(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", lines_to(10))
    shutil.rmtree(path)
    with pytest.raises(ValueError, match="holds no run"):
        read_run(path)


# Comparing


def test_differing_settings(tmp_path: Path) -> None:
    older = {key: value for key, value in CONFIG.items() if key != "pcm"}
    a = read_run(make_run(tmp_path / "a", data=["scenes"], seed=0))
    b = read_run(make_run(tmp_path / "b", data=["x.parquet"], seed=1))
    path = make_run(tmp_path / "c")
    (path / "config.json").write_text(json.dumps(older | {"out": "c", "lr": 0.1}))
    c = read_run(path)
    assert differing_settings([a, b]) == {"data": [["scenes"], ["x.parquet"]], "seed": [0, 1]}
    assert differing_settings([a, c]) == {"lr": [1e-4, 0.1]}, "pcm is no difference"
    assert differing_settings([a]) == {}


def test_what_was_measured_in_most_runs_comes_first(tmp_path: Path) -> None:
    a = read_run(make_run(tmp_path / "a", [measured(1, 0.1, "rare")]))
    b = read_run(make_run(tmp_path / "b", [measured(1, 0.1, "usual")]))
    c = read_run(make_run(tmp_path / "c", [measured(1, 0.1, "usual")]))
    assert metrics_of([a, b, c]) == ["usual", "rare"]


def test_losses_come_first_among_metrics(tmp_path: Path) -> None:
    a = read_run(make_run(tmp_path / "a", [line(1, grad_norm=1.0, loss_short=1.0)]))
    b = read_run(make_run(tmp_path / "b", [line(1, loss_long=1.0)]))
    names = last_metrics([a, b])
    assert names == ["loss", "loss_long", "loss_short", "lr", "pairs", "bad", "grad_norm"]


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (89, "1 min"),
        (3599, "1 h 00"),
        (3600 * 5 + 240, "5 h 04"),
        (86400 * 2 + 3600, "2 d 01 h"),
    ],
)
def test_duration(seconds: float, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (True, "yes"),
        ("", "–"),
        ([], "–"),
        (None, "–"),
        (0, "0"),
        (["a", "b"], "a, b"),
        ("/a/very/long/path/to/some/model", "…h/to/some/model"),
    ],
)
def test_setting_text(value: object, says: str) -> None:
    shown = setting_text(value)
    assert len(shown) <= 24
    assert shown.startswith(says[0])
    assert shown.endswith(says[1:])


def test_a_rate_of_zero_is_one_that_the_batch_size_decides() -> None:
    assert setting_text(0.0, "lr") == "by batch size"
    assert setting_text(0.0045000000000000005, "lr") == "0.0045"
    assert setting_text(0.0, "eps") == "0"
