"""Processes of a run end with it, however it ends; ^C ends it in order, and twice at once."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from longclip.runs.run_files import run_checkpoints
from longclip.training import train
from tests.helpers.process_family import ProcessFamily
from tests.helpers.training import tiny_config

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def endless_run(photos: Path, out: Path, workers: int) -> list[str]:
    """The command of a run that makes steps until it is stopped."""
    config = tiny_config(photos, out)
    words = ["-m", "longclip", "train", "--scratch", config.scratch, "--data", str(photos)]
    words += ["--out", str(out), "--batch-size", "8", "--steps", "100000", "--log-every", "1"]
    return [*words, "--pcm-components", "4", "--workers", str(workers)]


def makes_steps(out: Path) -> bool:
    metrics = out / "metrics.jsonl"
    return metrics.exists() and metrics.read_text().count("\n") > 3


@linux
def test_a_killed_run_leaves_no_worker(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, *endless_run(photos, tmp_path / "run", workers=2)]
    with ProcessFamily(command, tmp_path / "output") as family:
        family.wait_for(lambda: makes_steps(tmp_path / "run"))
        assert len(family.processes()) >= 3
        family.first.kill()
        family.first.wait()
        family.wait_for(lambda: not family.processes())


@linux
def test_of_several_processes_one_that_is_killed_takes_all_with_it(
    photos: Path, tmp_path: Path
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", *endless_run(photos, tmp_path / "run", 1)]
    with ProcessFamily(command, tmp_path / "output") as family:
        family.wait_for(lambda: makes_steps(tmp_path / "run"))
        parents = {process: parent_of(process) for process in family.processes()}
        ranks = [process for process, parent in parents.items() if parent == family.first.pid]
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        family.first.wait()
        family.wait_for(lambda: not family.processes())


@pytest.mark.slow
@linux
def test_a_killed_torchrun_takes_its_processes_with_it(photos: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", *endless_run(photos, tmp_path / "run", 1)]
    with ProcessFamily(command, tmp_path / "output") as family:
        family.wait_for(lambda: makes_steps(tmp_path / "run"))
        family.first.kill()
        family.wait_for(lambda: not family.processes())
        assert "stopped by a signal after step" in family.output.read_text()


def parent_of(process: int) -> int:
    status = Path(f"/proc/{process}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


@linux
def test_interrupted_twice_the_command_ends_at_once_and_without_a_traceback(
    photos: Path, tmp_path: Path
) -> None:
    command = [sys.executable, *endless_run(photos, tmp_path / "run", workers=1)]
    # A step that would be finished first is as long as it takes to be interrupted again.
    slow = "import time, longclip.training.step as s; s.Stepper.train_step = lambda *a, **k: "
    slow += f"(open({str(tmp_path / 'stepping')!r}, 'w').close(), time.sleep(600))"
    program = f"{slow}\nfrom longclip.cli import main; main()"
    command = [sys.executable, "-c", program, *command[command.index("train") :]]
    with ProcessFamily(command, tmp_path / "output") as family:
        family.wait_for((tmp_path / "stepping").exists)
        family.first.send_signal(signal.SIGINT)
        family.wait_for(lambda: "^C again stops at once" in family.output.read_text())
        assert family.first.poll() is None
        family.first.send_signal(signal.SIGINT)
        assert family.first.wait() == -signal.SIGINT
        family.wait_for(lambda: not family.processes())
        assert "Traceback" not in family.output.read_text()


def test_interrupted_once_a_run_ends_with_a_checkpoint_and_says_how_to_go_on(
    photos: Path, tmp_path: Path
) -> None:
    config = replace(tiny_config(photos, tmp_path / "run"), steps=9, checkpoint_every=100)

    def at_step_four(step: int, total: int, note: str) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    says = rf"stopped by \^C after step 4 of 9; `longclip train --resume --out {config.out}` goes"
    with pytest.raises(KeyboardInterrupt, match=says):
        train(config, on_step=at_step_four)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in run_checkpoints(config.out / "checkpoints")] == ["step-00000004"]
    assert train(config, resume=True).steps == 9


def test_interrupted_while_it_measures_a_run_does_not_wait_for_the_result(
    photos: Path, tmp_path: Path
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "run"), evaluate=("scenes",), evaluate_every=2, steps=4
    )
    calls = []

    def measure(model: object) -> dict[str, float]:
        calls.append(model)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("goes on measuring")
        return {"a": 1.0}

    at = 2  # after two steps
    with pytest.raises(KeyboardInterrupt, match=r"after step 2 of 4"):
        train(config, evaluate=measure)
    at = 4  # the finished model
    with pytest.raises(KeyboardInterrupt, match=r"model is finished; only measuring"):
        train(config, resume=True, evaluate=measure)
    evaluated = [
        values["step"]
        for values in map(json.loads, (config.out / "metrics.jsonl").read_text().splitlines())
        if "evaluation" in values
    ]
    assert evaluated == [0, 4]
