"""A run that is killed at any moment and resumed ends with the very same weights."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_config

from longclip.training import TrainConfig, train

_CHILD = """
import pickle, sys
from longclip.training import train
config, resume = pickle.load(open(sys.argv[1], "rb"))
train(config, resume=resume)
"""


def start(config: TrainConfig, *, resume: bool, directory: Path) -> subprocess.Popen[bytes]:
    import pickle

    job = directory / "job.pickle"
    job.write_bytes(pickle.dumps((config, resume)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", _CHILD, str(job)], env=environment)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoint.pt", weights_only=True)["model"]


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

    whole, resumed = weights(config.out), weights(cut.out)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert losses(config.out) == losses(cut.out)


def steps_logged(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def losses(run: Path) -> list[tuple[int, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [(values["step"], values["loss"]) for values in map(json.loads, lines)]


def test_kill_while_the_checkpoint_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=8, checkpoint_every=4)
    saved, real_save = [], torch.save

    def half_a_save(state: object, path: Path) -> None:
        real_save(state, path)
        saved.append(path)
        if len(saved) == 2:
            path.write_bytes(path.read_bytes()[:1000])
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half_a_save)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    assert torch.load(config.out / "checkpoint.pt", weights_only=True)["step"] == 4
    assert [p.name for p in config.out.iterdir() if p.name.startswith(".")] == []
    train(config, resume=True)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    for name, value in weights(whole.out).items():
        assert torch.equal(value, weights(config.out)[name]), name


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
    with pytest.raises(ValueError, match=r"lr was 0\.001, now 0\.5"):
        train(replace(config, lr=0.5), resume=True)
    with pytest.raises(ValueError, match="no run to resume"):
        train(replace(config, out=tmp_path / "other"), resume=True)
    train(replace(config, log_every=7, workers=1), resume=True)
