"""Several processes learn as one does."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from longclip.model import save
from longclip.runs.run_files import run_checkpoints
from longclip.training import TrainConfig, train
from longclip.training.distributed import World
from longclip.training.run.checkpoint import RunCheckpoints, own_share
from longclip.training.run.model import initial_model
from tests.helpers.training import (
    tiny_config,
    train_until,
    write_described_photos,
    write_photos,
)

# All runs of a test in one go: starting the processes takes far longer than the runs.
_JOB = """
import pickle, sys, warnings
import torch.distributed as dist
from longclip.training import train
from longclip.training.run.checkpoint import RunCheckpoints
warnings.simplefilter("ignore")
dist.init_process_group("gloo")
RunCheckpoints.keep_last = lambda self: None  # for a test that goes on before the end
for config, resume in pickle.load(open(sys.argv[1], "rb")):
    train(config, resume=resume)
dist.destroy_process_group()
"""


def launch(
    processes: int, jobs: Sequence[tuple[TrainConfig, bool]], at: Path, *, prelude: str = ""
) -> None:
    at.mkdir(exist_ok=True)
    (at / "jobs.pickle").write_bytes(pickle.dumps(list(jobs)))
    (at / "job.py").write_text(prelude + _JOB)
    command = [*torchrun(processes), str(at / "job.py"), str(at / "jobs.pickle")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


def torchrun(processes: int) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*start, "--nproc-per-node", str(processes)]


def environment() -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def losses(config: TrainConfig) -> torch.Tensor:
    lines = (config.out / "metrics.jsonl").read_text().splitlines()
    found = [values for values in map(json.loads, lines) if "loss" in values]
    return torch.tensor([[values["loss"], values["grad_norm"]] for values in found])


def variants(photos: Path, bad: Path, folder: Path) -> dict[str, TrainConfig]:
    """One run for every part of the engine that knows of other processes."""
    config = replace(tiny_config(photos, folder / "paper"), dtype="float32", device="cpu", steps=6)
    save(initial_model(replace(config, seed=9)), folder / "teacher")
    changes: dict[str, dict[str, Any]] = {
        "paper": {},
        "micro": {"micro_batch": 2},
        "sharded": {"parallel": "fsdp"},
        "sharded-micro": {"parallel": "fsdp", "micro_batch": 2},
        "chunked": {"logit_rows": 2},
        "bad": {"data": (str(bad),), "max_bad_fraction": 1.0, "pcm": False},
        "bad-sharded": {
            "data": (str(bad),),
            "max_bad_fraction": 1.0,
            "parallel": "fsdp",
            "micro_batch": 1,
            "distill_weight": 0.5,
        },
        "sigmoid": {"short_loss": "sigmoid", "positives": 2, "margin": 0.3},
        "himo": {"text_pcm_weight": 1.0, "monotonicity_weight": 1.0, "positives": 2},
        "distill": {"distill_weight": 1.0, "pad_prefix": 5, "clip_gradient": 1.0},
        "low-rank": {"lora_rank": 2, "wise_ft": 0.3},
        "two-teachers": {
            "distill_weight": 0.5,
            "long_teacher": str(folder / "teacher"),
            "long_distill_weight": 0.5,
            "data": (str(bad),),
            "max_bad_fraction": 1.0,
        },
        "averaged": {"ema_decay": 0.5},
        "averaged-sharded": {"swa_share": 0.7, "parallel": "fsdp"},
        "low-rank-margin": {"lora_rank": 2, "margin": 0.5},
        "low-rank-sharded": {"lora_rank": 2, "parallel": "fsdp"},
        "text-only": {"learn": "text", "crop_scale": 0.8},
        "groups": {"pcm_groups": 2, "pcm_components": 2, "activation_checkpointing": True},
    }
    return {name: replace(config, out=folder / name, **change) for name, change in changes.items()}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of which most cannot be read, so that a process may have none of a step's."""
    data = write_photos(tmp_path_factory.mktemp("bad") / "photos", 20)
    for i in range(20):
        if i % 4:
            (data.parent / f"{i}.png").write_bytes(b"not a picture")
    return data


@pytest.fixture(scope="module")
def alone(
    photos: Path, bad: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TrainConfig]:
    """All variants, trained in this process."""
    configs = variants(photos, bad, tmp_path_factory.mktemp("alone"))
    for config in configs.values():
        train(config)
    return configs


@pytest.mark.parametrize("processes", [2, 3])
def test_any_number_of_processes_has_the_same_loss_curve(
    processes: int, photos: Path, bad: Path, alone: dict[str, TrainConfig], tmp_path: Path
) -> None:
    together = variants(photos, bad, tmp_path)
    # A place that the first process cannot write to must not leave the others waiting.
    together["chunked"].out.mkdir()
    (together["chunked"].out / "checkpoints").write_text("no folder")
    launch(processes, [(config, False) for config in together.values()], tmp_path)
    for name, config in together.items():
        torch.testing.assert_close(
            losses(config)[:, 0],
            losses(alone[name])[:, 0],
            rtol=1e-5,
            atol=1e-5,
            msg=lambda m, n=name: n + m,
        )
        # AdamW would hide gradients that are all too large by the same factor.
        torch.testing.assert_close(
            losses(config)[:, 1], losses(alone[name])[:, 1], rtol=1e-3, atol=1e-4
        )
        assert_same_model(alone[name], config)


@pytest.mark.parametrize("pieces", ["micro", "chunked"])
def test_smaller_pieces_change_nothing_but_memory(
    pieces: str, alone: dict[str, TrainConfig]
) -> None:
    torch.testing.assert_close(losses(alone[pieces]), losses(alone["paper"]), rtol=1e-4, atol=1e-5)


def test_processes_make_batches_of_the_same_groups(tmp_path: Path) -> None:
    data = write_described_photos(tmp_path / "photos", 21)
    config = replace(tiny_config(data, tmp_path / "alone"), dtype="float32", device="cpu", steps=6)
    # Two steps are a pass, so that one is under way when groups are made again.
    alone = replace(config, neighbours=4, neighbours_every=3)
    train(alone)
    train_until(replace(alone, out=tmp_path / "begun"), 4)
    together = [
        replace(alone, out=tmp_path / "ddp"),
        replace(alone, out=tmp_path / "fsdp", parallel="fsdp"),
        replace(alone, out=tmp_path / "begun", parallel="fsdp"),
    ]
    launch(2, [(each, each.out.name == "begun") for each in together], tmp_path)
    names = ["step-00000000.json", "step-00000003.json"]
    for each in together:
        for name in names:
            found, expected = (
                json.loads((run.out / "neighbours" / name).read_text()) for run in (each, alone)
            )
            assert (found["rest"], found["whole"]) == (expected["rest"], expected["whole"])
        torch.testing.assert_close(
            losses(each)[:, 0], losses(alone)[:, 0], rtol=1e-5, atol=1e-5, msg=each.out.name
        )


def assert_same_model(one: TrainConfig, other: TrainConfig) -> None:
    first, second = (load_file(c.out / "model" / "model.safetensors") for c in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        # A softmax does not see its keys' bias: what gradient that has is rounding, and AdamW's
        # first steps have the size of the rate whatever the gradient's.
        if not name.endswith("k_proj.bias"):
            torch.testing.assert_close(
                second[name],
                value,
                rtol=1e-3,
                atol=1e-3,
                msg=lambda m, n=name: f"{other.out.name} {n} {m}",
            )


def test_a_run_goes_on_with_another_number_of_processes(photos: Path, tmp_path: Path) -> None:
    whole = replace(tiny_config(photos, tmp_path / "whole"), dtype="float32", device="cpu", steps=8)
    train(whole)
    # What two processes began, one goes on with, sharded ones, and three.
    paths = {
        "two-to-one": [(2, "ddp"), (1, "ddp")],
        "sharded-to-one": [(2, "fsdp"), (1, "ddp")],
        "one-to-sharded": [(1, "ddp"), (3, "fsdp")],
        "sharded-to-more": [(2, "fsdp"), (3, "fsdp")],
    }
    runs = {
        name: replace(whole, out=tmp_path / name, checkpoint_every=4, steps=8) for name in paths
    }
    for turn in (0, 1):
        for processes in (1, 2, 3):
            jobs = [
                (replace(runs[name], parallel=path[turn][1]), turn == 1)
                for name, path in paths.items()
                if path[turn][0] == processes
            ]
            if processes == 1:
                with patch.object(RunCheckpoints, "keep_last"):
                    for config, resume in jobs:
                        train(config, resume=resume)
            elif jobs:
                launch(processes, jobs, tmp_path / f"turn-{turn}-{processes}")
        for config in runs.values():
            if turn == 0:
                [_, last] = run_checkpoints(config.out / "checkpoints")
                shutil.rmtree(last)
    for name, config in runs.items():
        torch.testing.assert_close(
            losses(config)[:, 0],
            losses(whole)[:, 0],
            rtol=1e-5,
            atol=1e-5,
            msg=lambda m, n=name: n + m,
        )


def test_a_signal_to_torchrun_leaves_a_checkpoint(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    config = tiny_config(photos, tmp_path / "run")
    command = [*torchrun(2), "-m", "longclip", "train", "--scratch", config.scratch]
    command += ["--data", str(photos), "--out", str(config.out), "--batch-size", "8"]
    # torchrun tells everybody: workers must go on, or the run ends with them.
    command += ["--steps", "100000", "--log-every", "1", "--pcm-components", "4", "--workers", "2"]
    child = subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    metrics = config.out / "metrics.jsonl"
    while child.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 3):
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate()
    assert b"stopped by a signal after step" in errors
    assert len(run_checkpoints(config.out / "checkpoints")) == 1
    # A mistake is told, not the trouble that one process has with the end of another.
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert "already holds a run" in again.stderr
    assert "RuntimeError" not in again.stderr


@pytest.mark.parametrize(("rows", "size"), [(8, 3), (7, 2), (2, 3), (5, 1)])
def test_shares_cover_a_batch(rows: int, size: int) -> None:
    worlds = [World(rank, size, torch.device("cpu")) for rank in range(size)]
    found = [i for world in worlds for i in range(rows)[world.share(rows)]]
    assert found == list(range(rows))


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_replicas_write_each_tensor_once_and_about_as_much(size: int) -> None:
    sizes = [5, 1, 40, 40, 1, 30, 30, 1, 100, 100, 60, 7, 90]
    tensors = {str(i): torch.zeros(n) for i, n in enumerate(sizes)}
    worlds = [World(rank, size, torch.device("cpu")) for rank in range(size)]
    shares = [own_share(tensors, world) for world in worlds]
    assert sorted(name for share in shares for name in share) == sorted(tensors)
    most = max(sum(len(value) for value in share.values()) for share in shares)
    assert most <= sum(sizes) / size + max(sizes)


def test_a_gpu_is_asked_for_where_there_is_none(photos: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = tiny_config(photos, tmp_path / "run")
    with pytest.raises(ValueError, match="cuda"):
        train(replace(config, device="cuda"))
    with pytest.raises(ValueError, match="none that a model can run on"):
        train(replace(config, device="gpu"))
    assert not config.out.exists()
