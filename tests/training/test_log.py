"""TensorBoard in earnest where it is installed, Weights & Biases by a stand-in."""

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longclip.training.run.log import Trackers
from tests.helpers.runs import line, measured

CONFIG = {"recipe": "paper", "lr": 1e-4, "data": ["scenes"], "out": Path("runs/x")}


class FakeLibrary(SimpleNamespace):
    """What is used of `wandb`."""

    def __init__(self, fails: str = "") -> None:
        super().__init__(fails=fails, inits=[], logs=[], ends=[])

    def init(self, **settings: Any) -> "FakeLibrary":
        self.inits.append(settings)
        self._maybe_fail("init")
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self._maybe_fail("log")
        self.logs.append((step, values))

    def finish(self, exit_code: int) -> None:
        self._maybe_fail("finish")
        self.ends.append(exit_code)

    def _maybe_fail(self, where: str) -> None:
        if self.fails == where:
            raise ConnectionError("no route to host\nand a long story")


def fake(monkeypatch: pytest.MonkeyPatch, fails: str = "") -> FakeLibrary:
    library = FakeLibrary(fails)
    monkeypatch.setitem(sys.modules, "wandb", library)
    return library


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    trackers = Trackers(tmp_path, CONFIG)
    trackers.log(10, line(10))
    trackers.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = fake(monkeypatch)
    trackers = Trackers(tmp_path, CONFIG, wandb="team/project")
    assert library.inits == [], "a run that fails at once leaves nothing there"
    trackers.log(10, {"step": 10, "loss": 2.0, "note": "x", "flag": True, "bad": 0})
    trackers.log(10, measured(10, 0.5) | {"final": True})
    trackers.close()
    assert library.logs == [
        (10, {"train/loss": 2.0, "train/bad": 0}),
        (10, {"evaluation/val long T2I R@1": 0.5}),
    ]
    [settings] = library.inits
    assert (settings["entity"], settings["project"]) == ("team", "project")
    assert (settings["name"], settings["dir"]) == (tmp_path.name, str(tmp_path))
    assert settings["config"] == CONFIG
    assert library.ends == [0]


def test_a_resumed_run_goes_on_in_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fake(monkeypatch)
    for failed in (True, False):
        trackers = Trackers(tmp_path, CONFIG, wandb="project")
        trackers.log(10, line(10))
        trackers.close(failed=failed)
    first, second = library.inits
    assert first["id"] == second["id"]
    assert (first["entity"], second["resume"]) == (None, "allow")
    assert library.ends == [1, 0]
    (tmp_path / "other").mkdir()
    other = Trackers(tmp_path / "other", CONFIG, wandb="project")
    other.log(10, line(10))
    assert library.inits[-1]["id"] != first["id"]


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_left_out_with_one_warning(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = fake(monkeypatch, fails=where)
    trackers = Trackers(tmp_path, CONFIG, wandb="project")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trackers.log(10, line(10))
        trackers.log(20, line(20))
        trackers.close()
    [warning] = caught
    assert str(warning.message) == (
        "Weights & Biases fails (no route to host); the run goes on without it, "
        "and metrics.jsonl has everything"
    )
    assert len(library.inits) == 1


def test_one_that_fails_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    fake(monkeypatch, fails="log")
    trackers = Trackers(tmp_path, CONFIG, tensorboard=True, wandb="project")
    with pytest.warns(UserWarning, match="Biases fails"):
        trackers.log(10, line(10))
    trackers.log(20, line(20))
    trackers.close()
    assert [step for step, _ in scalars(tmp_path, "train/loss")] == [10, 20]


@pytest.mark.parametrize(
    ("option", "package", "hidden"),
    [
        ({"tensorboard": True}, "tensorboard", "torch.utils.tensorboard"),
        ({"wandb": "project"}, "wandb", "wandb"),
    ],
)
def test_a_missing_package_is_said_before_the_run(
    option: dict[str, Any],
    package: str,
    hidden: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(ValueError, match=rf"--{package} needs .*pip install {package}, or leave"):
        Trackers(tmp_path, CONFIG, **option)


def scalars(run: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trackers = Trackers(tmp_path, CONFIG, tensorboard=True)
        for step in (10, 20, 30):
            trackers.log(step, line(step, loss=float(step)))
        trackers.log(30, measured(30, 0.5))
        trackers.close()
    assert scalars(tmp_path, "train/loss") == [(10, 10.0), (20, 20.0), (30, 30.0)]
    assert scalars(tmp_path, "evaluation/val long T2I R@1") == [(30, 0.5)]


def test_tensorboard_hides_steps_that_are_done_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for first, value in ((10, 1.0), (20, 2.0)):
        trackers = Trackers(tmp_path, CONFIG, tensorboard=True)
        for step in range(first, 31, 10):
            trackers.log(step, line(step, loss=value))
        trackers.close()
    assert scalars(tmp_path, "train/loss") == [(10, 1.0), (20, 2.0), (30, 2.0)]
