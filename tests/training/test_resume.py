"""A run that is killed at any moment and resumed ends with the very same weights."""

import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from longclip.errors import Preempted, TrainingError, UsageError
from longclip.runs.run import read_run
from longclip.runs.run_files import run_checkpoints
from longclip.training import TrainConfig, train
from longclip.training.run import checkpoint as run_checkpoint
from longclip.training.run.checkpoint import CheckpointWarning
from longclip.training.run.directory import RunDirectory, config_json, read_config
from longclip.util.sealed_json import write_sealed
from tests.helpers.training import tiny_config, train_until

_CHILD = """
import pickle, sys
from longclip.training import train
config, resume = pickle.load(open(sys.argv[1], "rb"))
train(config, resume=resume)
"""


def start(config: TrainConfig, *, resume: bool, directory: Path) -> subprocess.Popen[bytes]:
    job = directory / "job.pickle"
    job.write_bytes(pickle.dumps((config, resume)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", _CHILD, str(job)], env=environment)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """All that the last checkpoint of a run in one process holds: weights and moments."""
    last = run_checkpoints(run / "checkpoints")[-1]
    [file] = last.glob("*.safetensors")
    return load_file(file)


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def steps_saved(run: Path) -> list[int]:
    return [int(p.name.removeprefix("step-")) for p in run_checkpoints(run / "checkpoints")]


def test_kill_at_a_random_step_then_resume(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "whole"), steps=12, checkpoint_every=2)
    train(config)

    cut = replace(config, out=tmp_path / "cut")
    child = start(cut, resume=False, directory=tmp_path)
    target = random.randrange(1, 11)
    while child.poll() is None and steps_logged(cut.out) < target:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (cut.out / "config.json").exists()
    train(cut, resume=True)
    assert_same_weights(config.out, cut.out)
    assert losses(config.out) == losses(cut.out)


def steps_logged(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def losses(run: Path) -> list[tuple[int, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [(values["step"], values["loss"]) for values in map(json.loads, lines)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_run_with_a_checkpoint(
    number: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    config = replace(tiny_config(photos, tmp_path / "whole"), steps=9, checkpoint_every=100)
    train(config)
    cut = replace(config, out=tmp_path / "cut")

    def at_step_four(step: int, total: int, note: str) -> None:
        if step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Preempted, match=r"after step 4 of 9; .* --resume"):
        train(cut, on_step=at_step_four)
    assert signal.getsignal(number) is before
    assert steps_saved(cut.out) == [4]
    assert not (cut.out / "model").exists()
    train(cut, resume=True)
    assert_same_weights(config.out, cut.out)


def test_a_stopped_run_says_what_it_goes_on_from(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=9, checkpoint_every=2)

    def no_place_at_step_three(step: int, total: int, note: str) -> None:
        if step == 3:
            (config.out / "checkpoints").rename(tmp_path / "moved")
            (config.out / "checkpoints").write_text("no folder")
            os.kill(os.getpid(), signal.SIGTERM)

    with (
        pytest.warns(CheckpointWarning, match="step 3"),
        pytest.raises(Preempted, match=r"after step 3 of 9; .*--resume .* on from step 0"),
    ):
        train(config, on_step=no_place_at_step_three)


def test_the_command_tells_a_scheduler_to_start_it_again(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    command = [sys.executable, "-m", "longclip", "train", "--scratch", config.scratch]
    command += ["--data", str(photos), "--out", str(config.out), "--batch-size", "8"]
    command += ["--steps", "100000", "--log-every", "1", "--pcm-components", "4", "--workers", "0"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    while child.poll() is None and steps_logged(config.out) < 3:
        time.sleep(0.01)
    child.terminate()
    _, errors = child.communicate()
    assert child.returncode == 75, errors.decode()
    assert b"stopped by a signal after step" in errors
    assert b"Traceback" not in errors
    assert len(steps_saved(config.out)) == 1


def test_the_command_needs_no_options_again_to_go_on(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=6, checkpoint_every=3)
    train_until(config, 3)
    command = [sys.executable, "-m", "longclip", "train", "--resume", "--out", str(config.out)]
    done = subprocess.run([*command, "--lr", "0.5"], capture_output=True, text=True)
    assert "lr was 0.001, now 0.5" in done.stderr
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 steps" in done.stdout
    assert read_config(config.out) == config


def test_options_of_a_later_version_are_named(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    path = config.out / "config.json"
    values = json.loads(path.read_text())
    del values["sha256"]
    write_sealed(path, values | {"telepathy": True, "longclip": "9.0"})
    with pytest.raises(ValueError, match=r"longclip 9\.0, has options .*: telepathy; resume with"):
        read_config(config.out)
    # What an earlier version did not write is what the defaults are.
    del values["wise_ft"]
    write_sealed(path, values)
    assert read_config(config.out) == config
    assert train(config, resume=True).steps == config.steps


def test_kill_while_a_checkpoint_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=8, checkpoint_every=4)
    real_save = run_checkpoint.async_save

    def half_a_save(tensors: object, **options: object) -> object:
        future = real_save(tensors, **options)
        future.result()
        if (config.out / "checkpoints" / "step-00000004").exists():
            raise KeyboardInterrupt
        return future

    monkeypatch.setattr(run_checkpoint, "async_save", half_a_save)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    assert steps_saved(config.out) == [4]
    # What a killed process leaves is neither taken for a checkpoint nor in the way of the next.
    assert (config.out / "checkpoints" / ".step-00000008").is_dir()
    (config.out / "checkpoints" / ".step-00000005").mkdir()
    train(config, resume=True)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    assert_same_weights(whole.out, config.out)
    assert not list((config.out / "checkpoints").glob(".*"))


def test_a_full_disk_leaves_the_checkpoint_before_and_the_run_goes_on(
    photos: Path, tmp_path: Path
) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=8, checkpoint_every=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def no_room_at_step_six(step: int, total: int, note: str) -> None:
        if step == 5:
            time.sleep(0.5)  # for the checkpoint of step 4 to be written
        # The kernel refuses to let any file grow beyond this, as a full disk would.
        if step == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        if step == 7:
            time.sleep(0.5)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    try:
        with pytest.warns(CheckpointWarning, match=r"step 6 .*step-00000004 is kept"):
            train(config, on_step=no_room_at_step_six)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps_saved(config.out) == [8]


def test_metrics_wait_for_room_on_the_disk(tmp_path: Path) -> None:
    run, lines = RunDirectory(tmp_path), [{"step": step, "loss": 0.5} for step in range(5)]
    run.log(lines[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # The second line is written in part: of it nothing must stay.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(json.dumps(lines[0])) + 9, limits[1]))
    try:
        with pytest.warns(UserWarning, match=r"metrics.jsonl could not be written .* make room"):
            run.log(lines[1])
        run.log(lines[2])  # not told again
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(lines[0]) + "\n"
    for line in lines[3:]:
        run.log(line)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()] == lines


def test_only_the_last_checkpoints_are_kept(photos: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=9, checkpoint_every=1)
    train_until(replace(config, keep_checkpoints=3), 7)
    assert steps_saved(config.out) == [5, 6, 7]
    train(config, resume=True)
    assert steps_saved(config.out) == [9]


def test_nothing_in_a_checkpoint_can_run(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    kinds = {p.suffix for p in (config.out / "checkpoints").rglob("*") if p.is_file()}
    assert kinds == {".safetensors", ".json"}


def test_resuming_a_finished_run_changes_nothing(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    before = (config.out / "model" / "model.safetensors").read_bytes()
    result = train(config, resume=True)
    assert result.steps == config.steps
    assert (config.out / "model" / "model.safetensors").read_bytes() == before


def test_a_run_is_neither_overwritten_nor_continued_with_other_settings(
    photos: Path, tmp_path: Path
) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    with pytest.raises(FileExistsError, match="--resume"):
        train(config)
    with pytest.raises(ValueError, match=r"--lr was 0\.001, now 0\.5"):
        train(replace(config, lr=0.5), resume=True)
    with pytest.raises(ValueError, match="no run to resume"):
        train(replace(config, out=tmp_path / "other"), resume=True)
    train(replace(config, log_every=7, workers=1), resume=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 2e-6}, "--lr was 0 (the default), now 2e-06"),
        ({"pcm": True}, "--pcm was off (the default), now on"),
        ({"keep_best": "long T2I"}, "--keep-best was none (the default), now long T2I"),
        ({"seed": 5}, "--seed was 3, now 5"),
    ],
)
def test_settings_that_changed_are_shown_as_they_are_typed(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    config = TrainConfig(out=tmp_path, seed=3, evaluate=("scenes/val",), evaluate_every=1)
    write_sealed(tmp_path / "config.json", config_json(config))
    with pytest.raises(UsageError) as error:
        RunDirectory(tmp_path).check(replace(config, **change))
    assert f"was started with other settings ({says});" in str(error.value)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_run_has_one_writer(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")

    def start_another(step: int, total: int, note: str) -> None:
        if step != 3:
            return
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(UsageError, match=rf"written by process {os.getpid()} .*\(kill"):
                train(config, **options)
        assert read_run(config.out).state == "running"

    train(config, on_step=start_another)
    assert read_run(config.out).state == "finished"
    assert steps_logged(config.out) == 5


def test_a_start_that_fails_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "data")
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(f'{{"image": "{i}.png", "long": "a wall"}}\n' for i in range(20)))
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(b"no picture")
    out = tmp_path / "not" / "yet" / "run"
    with pytest.raises(TrainingError, match="items cannot be used"):
        train(replace(config, data=(str(broken),), out=out))
    with pytest.raises(ValueError, match="not there"):
        train(replace(config, data=(str(tmp_path / "not there.jsonl"),), out=out))
    assert not (tmp_path / "not").exists()
    out.mkdir(parents=True)
    with pytest.raises(TrainingError, match="items cannot be used"):
        train(replace(config, data=(str(broken),), out=out))
    assert names(out) == []

    def fail_late(step: int, total: int, note: str) -> None:
        if step == 4:
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="luck"):
        train(replace(config, out=out), on_step=fail_late)
    run = read_run(out)
    assert run.state == "failed"
    assert run.notes[0].startswith("out of luck")
    assert train(replace(config, out=out), resume=True).steps == 5


def test_overwrite_deletes_a_run_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    train(config)
    with pytest.raises(FileExistsError, match="--overwrite"):
        train(config)
    with pytest.raises(UsageError, match="--resume goes on"):
        train(config, resume=True, overwrite=True)
    train(replace(config, lr=0.01, steps=4), overwrite=True)
    assert read_config(config.out).lr == 0.01
    assert steps_saved(config.out) == [4]
    others = tmp_path / "others"
    others.mkdir()
    (others / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"holds no run but thesis\.tex"):
        train(replace(config, out=others), overwrite=True)
    with pytest.raises(FileExistsError, match=r"config\.json that is not a run's"):
        train(replace(config, out=config.out / "model"), overwrite=True)
    assert names(others) == ["thesis.tex"]
