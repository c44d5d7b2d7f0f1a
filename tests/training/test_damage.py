"""Damage of a run's files: named, passed over where there is something whole, never trained on."""

import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longclip.errors import CheckpointError, LongCLIPError
from longclip.runs.run import find_runs, read_run
from longclip.runs.run_files import run_checkpoints
from longclip.training import TrainConfig, train
from longclip.training.run.checkpoint import CheckpointWarning
from longclip.training.run.directory import read_config
from tests.helpers.training import tiny_config, train_until


@pytest.fixture(scope="module")
def stopped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run that was stopped after five of six steps, with checkpoints of four and five."""
    config = replace(tiny_config(photos, tmp_path_factory.mktemp("run") / "run"), steps=6)
    train_until(config, 5)
    assert len(run_checkpoints(config.out / "checkpoints")) == 2
    return config


@pytest.fixture(scope="module")
def whole(stopped: TrainConfig) -> dict[str, torch.Tensor]:
    """The weights that the run ends with, if nothing happens to it."""
    config = replace(stopped, out=stopped.out.with_name("whole"))
    shutil.copytree(stopped.out, config.out)
    return model(config.out, resumed=config)


def model(run: Path, resumed: TrainConfig) -> dict[str, torch.Tensor]:
    train(replace(resumed, out=run), resume=True)
    return load_file(run / "model" / "model.safetensors")


def flip(position: float) -> Callable[[bytes], bytes]:
    def flipped(content: bytes) -> bytes:
        at = int(position * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

    return flipped


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "list": lambda content: b"[]",
    "object": lambda content: b"{}",
    "deep": lambda content: b"[" * 100_000,
    "binary": lambda content: b"\xff" + content,
    **{f"flip {share}": flip(share) for share in (0.0, 0.3, 0.9)},
}


def damaged_copy(run: Path, copy: Path, file: str, damage: Callable[[bytes], bytes]) -> Path:
    """A copy of a run with one damaged file; `{last}` stands for its last checkpoint."""
    shutil.copytree(run, copy)
    last = run_checkpoints(copy / "checkpoints")[-1]
    [path] = copy.glob(file.format(last=last.relative_to(copy)))
    path.write_bytes(damage(path.read_bytes()))
    return path


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_configuration_is_taken_from_a_checkpoint(
    stopped: TrainConfig, tmp_path: Path, damage: str
) -> None:
    path = damaged_copy(stopped.out, tmp_path / "run", "config.json", DAMAGES[damage])
    with pytest.warns(UserWarning, match=rf"{path}.*its copy in .*step-00000005 is used"):
        config = read_config(tmp_path / "run")
    assert config == replace(stopped, out=tmp_path / "run")
    [run] = find_runs([tmp_path])
    assert run.config["lr"] == stopped.lr
    assert str(path) in run.notes[0]
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match=rf"{path} .*no checkpoint has a copy .*--overwrite"):
        read_config(tmp_path / "run")
    assert str(path) in read_run(tmp_path / "run").notes[0]


@pytest.mark.parametrize("file", ["{last}/state.json", "{last}/shard-*"])
@pytest.mark.parametrize("damage", ["empty", "flip 0.9"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    stopped: TrainConfig, whole: dict[str, torch.Tensor], tmp_path: Path, damage: str, file: str
) -> None:
    path = damaged_copy(stopped.out, tmp_path / "run", file, DAMAGES[damage])
    with pytest.warns(CheckpointWarning, match=rf"{path} .*step-00000004, the checkpoint before"):
        assert_same(model(tmp_path / "run", stopped), whole)
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_without_a_whole_checkpoint_all_damage_is_named(
    stopped: TrainConfig, tmp_path: Path
) -> None:
    shutil.copytree(stopped.out, tmp_path / "run")
    before, last = run_checkpoints(tmp_path / "run" / "checkpoints")
    (last / "state.json").unlink()
    [shard] = before.glob("shard-*")
    (before / "more.safetensors").write_bytes(shard.read_bytes())
    with pytest.raises(CheckpointError) as caught:
        train(replace(stopped, out=tmp_path / "run"), resume=True)
    assert f"{last / 'state.json'} cannot be read" in str(caught.value)
    assert f"{before / 'more.safetensors'} does not belong there" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert len(run_checkpoints(tmp_path / "run" / "checkpoints")) == 2


def test_damaged_metrics_and_writers_cost_nothing_else(
    stopped: TrainConfig, whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = damaged_copy(stopped.out, tmp_path / "run", "metrics.jsonl", DAMAGES["binary"])
    (tmp_path / "run" / "writer.json").write_bytes(b"[\xff")
    [run] = find_runs([tmp_path])
    assert run.notes[0].startswith("killed")
    assert run.notes[1] == "1 lines of metrics.jsonl cannot be read"
    with pytest.warns(UserWarning, match=rf"{path}: 1 damaged lines were dropped"):
        assert_same(model(tmp_path / "run", stopped), whole)


@pytest.mark.slow
def test_no_damage_of_any_file_leads_to_other_weights(
    stopped: TrainConfig, whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    files = [path.relative_to(stopped.out) for path in stopped.out.rglob("*") if path.is_file()]
    assert len(files) == 7
    rng = random.Random(0)
    damages = list(DAMAGES.values()) + [flip(rng.random()) for _ in range(20)]
    for number, (file, damage) in enumerate((f, d) for f in files for d in damages):
        run = tmp_path / str(number)
        damaged_copy(stopped.out, run, str(file), damage)
        says, found = "", None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            find_runs([run])
            try:
                found = model(run, read_config(run))
            except LongCLIPError as error:
                says = str(error)
        says += "".join(str(warning.message) for warning in caught)
        if found is not None:
            assert_same(found, whole)
        # Nothing is read of the writer before; of the metrics a changed number is one as well, and
        # the checkpoint before the last is not looked at.
        quiet = file.name in ("metrics.jsonl", "writer.json") or "step-00000004" in file.parts
        assert quiet or file.name in says
        shutil.rmtree(run)
