"""A run that ends with its best step."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import longclip
from longclip.errors import UsageError
from longclip.training import TrainConfig, train, trainer
from longclip.training.forward import ParallelTowers
from longclip.training.run.best_model import Best, BestModel
from longclip.training.run.checkpoint import CheckpointWarning
from tests.helpers.training import tiny_config


def measured_config(photos: Path, out: Path, steps: int) -> TrainConfig:
    """A run that is measured after every step."""
    config = replace(tiny_config(photos, out), steps=steps)
    return replace(config, evaluate=("scenes",), evaluate_every=1, keep_best="T2I")


@pytest.mark.parametrize(("found", "kept"), [([9, 1, 3, 2, 2], 2), ([0, 1, 2, 3, 4], 4)])
def test_a_run_ends_with_its_best_step(
    found: list[float], kept: int, photos: Path, tmp_path: Path
) -> None:
    config = measured_config(photos, tmp_path / "run", steps=4)
    values, models = iter([*found, found[-1]]), []  # the last is measured twice

    def evaluate(model: longclip.CLIP) -> dict[str, float]:
        models.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"long T2I R@1": next(values), "long I2T R@1": 0.0}

    result = train(config, evaluate=evaluate)
    assert result.kept == kept
    assert result.after["long T2I R@1"] == max(found[1:])
    written = longclip.load(result.model).state_dict()
    for name, value in models[kept].items():
        assert written[name].equal(value), name


def test_what_is_no_measurement_is_named_before_the_first_step(
    photos: Path, tmp_path: Path
) -> None:
    config = tiny_config(photos, tmp_path / "run")
    config = replace(config, evaluate=("scenes",), evaluate_every=1, keep_best="R@1")
    steps: list[int] = []
    with pytest.raises(UsageError, match=r"--keep-best R@1 is several of .*: a R@1, b R@1"):
        train(
            config,
            evaluate=lambda model: {"a R@1": 1.0, "b R@1": 1.0},
            on_step=lambda step, total, text: steps.append(step),
        )
    assert not steps
    with pytest.raises(UsageError, match="--keep-best needs measurements on the way"):
        replace(config, evaluate_every=0)


def test_a_damaged_best_model_is_named_and_not_taken_for_the_result(
    photos: Path, tmp_path: Path
) -> None:
    config = measured_config(photos, tmp_path / "run", steps=2)
    values = iter([0.0, 9.0, 1.0, 1.0])
    assert train(config, evaluate=lambda model: {"T2I": next(values)}).kept == 1
    [weights] = (config.out / "best").rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-9] ^= 0x40
    weights.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{weights} is damaged: its checksum is another"):
        assert train(config, resume=True, evaluate=lambda model: {"T2I": 1.0}).kept == 2


def test_the_best_of_another_measurement_is_not_compared(tmp_path: Path) -> None:
    best = BestModel(tmp_path, "T2I")
    assert best.beaten_by({"b T2I": 0.5}, Best(1, {"b T2I": 0.4}))
    assert not best.beaten_by({"b T2I": 0.3}, Best(1, {"b T2I": 0.4}))
    with pytest.warns(UserWarning, match="step 1, the best so far, was not measured by b T2I"):
        assert best.beaten_by({"b T2I": 0.3}, Best(1, {"a T2I": 0.4}))


def test_a_best_model_that_finds_no_room_does_not_end_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "run"),
        steps=3,
        evaluate=("scenes",),
        evaluate_every=1,
        keep_best="T2I",
    )
    values = iter([0.0, 1.0, 2.0, 0.0, 0.0])
    written = trainer.write_model

    def without_room(towers: ParallelTowers, config: TrainConfig, path: Path, **note: int) -> Any:
        if note["step"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return written(towers, config, path, **note)

    monkeypatch.setattr(trainer, "write_model", without_room)
    with pytest.warns(CheckpointWarning, match="of step 2, could not be written .* make room"):
        result = train(config, evaluate=lambda model: {"T2I": next(values)})
    assert result.kept == 1
