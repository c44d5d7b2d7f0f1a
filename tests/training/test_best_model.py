"""A run that ends with its best step."""

from dataclasses import replace
from pathlib import Path

import pytest

import longclip
from longclip.errors import UsageError
from longclip.training import train
from tests.helpers.training import tiny_config


@pytest.mark.parametrize(("found", "kept"), [([9, 1, 3, 2, 2], 2), ([0, 1, 2, 3, 4], 4)])
def test_a_run_ends_with_its_best_step(
    found: list[float], kept: int, photos: Path, tmp_path: Path
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "run"),
        steps=4,
        evaluate=("scenes",),
        evaluate_every=1,
        keep_best="T2I",
    )
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


def test_what_is_no_measurement_is_named(photos: Path, tmp_path: Path) -> None:
    config = tiny_config(photos, tmp_path / "run")
    config = replace(config, evaluate=("scenes",), evaluate_every=1, keep_best="R@1")
    with pytest.raises(UsageError, match=r"--keep-best R@1 is several of .*: a R@1, b R@1"):
        train(config, evaluate=lambda model: {"a R@1": 1.0, "b R@1": 1.0})
    with pytest.raises(UsageError, match="--keep-best needs measurements on the way"):
        replace(config, evaluate_every=0)
