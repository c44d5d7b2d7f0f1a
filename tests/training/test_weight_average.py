"""Averages of weights over steps, against sums over the weights of every step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import longclip
from longclip.errors import UsageError
from longclip.training import TrainConfig, train
from longclip.training.run.model import initial_model
from tests.helpers.training import tiny_config, train_until

Weights = dict[str, torch.Tensor]


def measured(photos: Path, out: Path) -> TrainConfig:
    config = replace(tiny_config(photos, out), steps=6, dtype="float32", device="cpu", lr=1e-2)
    return replace(config, evaluate=("scenes",), evaluate_every=1)


def weights_measured(config: TrainConfig) -> list[Weights]:
    """What is measured before the first step and after each."""
    found: list[Weights] = []

    def evaluate(model: longclip.CLIP) -> dict[str, float]:
        found.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"T2I": float(len(found))}

    train(config, evaluate=evaluate)
    return found


def assert_close(found: Weights, expected: Weights) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=lambda m, n=name: f"{n}: {m}")


def test_a_moving_average_is_what_is_measured_and_what_the_run_ends_with(
    photos: Path, tmp_path: Path
) -> None:
    plain = weights_measured(measured(photos, tmp_path / "plain"))
    config = replace(measured(photos, tmp_path / "ema"), ema_decay=0.3)
    found = weights_measured(config)
    expected = plain[0]
    for step, weights in enumerate(plain[:7]):
        if step:
            decay = min(0.3, (1 + step) / (10 + step))
            expected = {n: decay * v + (1 - decay) * weights[n] for n, v in expected.items()}
        assert_close(found[step], expected)
    assert_close(dict(longclip.load(config.out / "model").state_dict()), expected)
    table = "text_model.embeddings.position_embedding.weight"
    assert found[-1][table][:20].equal(plain[0][table][:20]), "frozen rows stay, bit for bit"


def test_the_weights_of_the_last_steps_count_alike(photos: Path, tmp_path: Path) -> None:
    plain = weights_measured(measured(photos, tmp_path / "plain"))
    found = weights_measured(replace(measured(photos, tmp_path / "swa"), swa_share=0.5))
    for step in range(4):
        assert_close(found[step], plain[step])
    for step in (4, 5, 6):
        some = plain[4 : step + 1]
        mean = {n: torch.stack([w[n] for w in some]).mean(0) for n in plain[0]}
        assert_close(found[step], mean)


@pytest.mark.parametrize("change", [{"ema_decay": 0.5}, {"swa_share": 0.8}])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_resumed_run_ends_with_the_same_average(
    change: dict[str, float], lora_rank: int, photos: Path, tmp_path: Path
) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "whole"), steps=6, lora_rank=lora_rank, wise_ft=0.2
    )
    config = replace(config, **change)  # type: ignore[arg-type]
    whole = longclip.load(train(config).model).state_dict()
    cut = replace(config, out=tmp_path / "cut")
    train_until(cut, 3)
    resumed = longclip.load(train(cut, resume=True).model).state_dict()
    for name, value in whole.items():
        assert value.equal(resumed[name]), name
    with pytest.raises(UsageError, match=next(iter(change)).replace("_", "-")):
        train(replace(cut, **dict.fromkeys(change, 0.1)), resume=True)  # type: ignore[arg-type]


def test_the_best_average_is_kept(photos: Path, tmp_path: Path) -> None:
    config = replace(measured(photos, tmp_path / "run"), ema_decay=0.5, keep_best="T2I")
    models: list[Weights] = []
    values = iter([0.0, 1.0, 9.0, 2.0, 3.0, 4.0, 5.0, 5.0])

    def evaluate(model: longclip.CLIP) -> dict[str, float]:
        models.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"T2I": next(values)}

    result = train(config, evaluate=evaluate)
    assert result.kept == 2
    for name, value in longclip.load(result.model).state_dict().items():
        assert value.equal(models[2][name]), name


def test_two_averages_are_refused_and_learning_is_as_without(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out one"):
        TrainConfig(ema_decay=0.9, swa_share=0.1)
    config = tiny_config(photos, tmp_path / "plain")
    start = initial_model(config).state_dict()
    train(config)
    train(replace(config, out=tmp_path / "ema", ema_decay=0.999))
    lines = [(tmp_path / n / "metrics.jsonl").read_text().splitlines() for n in ("plain", "ema")]
    losses = [[line.split('"loss":')[1].split(",")[0] for line in run] for run in lines]
    assert losses[0] == losses[1]
    moved = longclip.load(tmp_path / "ema" / "model").state_dict()
    assert any(not value.equal(start[name]) for name, value in moved.items())
