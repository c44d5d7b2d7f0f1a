"""The bias that sigmoid losses start from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import longclip
from longclip.model.clip import INITIAL_LOGIT_BIAS
from longclip.training import TrainConfig, train
from longclip.training.logit_bias import balanced_bias
from longclip.training.objectives import BatchFeatures, long_clip
from longclip.training.recipes import beta, clip, paper
from tests.helpers.training import tiny_config, train_until


def narrow_batch(k: int = 2) -> BatchFeatures:
    """Cosines as a CLIP that was trained with softmax has them: all above 0, temperature 1/100."""
    generator = torch.Generator().manual_seed(4)
    shared = torch.randn(1, 32, generator=generator)

    def drawn(rows: int) -> torch.Tensor:
        noise = torch.randn(rows, 32, generator=generator)
        return torch.nn.functional.normalize(shared + 0.6 * noise, dim=-1)

    return BatchFeatures(drawn(10), torch.tensor(100.0), drawn(10 * k), drawn(10))


@pytest.mark.parametrize(
    "config",
    [
        replace(clip(), short_loss="sigmoid", positives=2),
        replace(beta(), short_loss="sigmoid", long_loss="sigmoid", short_weight=0.3, positives=2),
        replace(paper(), short_loss="sigmoid", pcm_components=3, positives=2),
    ],
)
def test_it_makes_the_loss_of_the_batch_least(config: TrainConfig) -> None:
    batch = narrow_batch()
    found = balanced_bias(long_clip, batch, config)
    assert found is not None

    def loss(bias: float) -> float:
        return float(long_clip(replace(batch, logit_bias=torch.tensor(bias)), config, None).total)

    grid = [bias / 4 for bias in range(-480, 200)]
    assert abs(found - min(grid, key=loss)) <= 0.25
    assert loss(found) < 0.1 * loss(INITIAL_LOGIT_BIAS)
    if config.texts == "short":
        assert batch.short is not None
        matches = (100 * batch.images @ batch.short.T + found).sigmoid().sum()
        assert float(matches) == pytest.approx(20, rel=0.05), "as many matches as there are texts"


def test_no_bias_where_nothing_asks_for_one() -> None:
    batch = narrow_batch()
    assert balanced_bias(long_clip, batch, paper()) is None
    one = BatchFeatures(batch.images[:1], batch.logit_scale, batch.long)
    assert balanced_bias(long_clip, one, replace(clip(), short_loss="sigmoid")) is None


def saved_bias(run: Path, step: int) -> float:
    [file] = (run / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")
    return float(load_file(file)["model.logit_bias"])


def test_a_run_starts_from_it_and_goes_on_from_its_own(photos: Path, tmp_path: Path) -> None:
    config = replace(
        tiny_config(photos, tmp_path / "whole"),
        short_loss="sigmoid",
        logit_scale=50.0,
        dtype="float32",
        device="cpu",
        keep_checkpoints=9,
        checkpoint_every=1,
    )
    cut = replace(config, out=tmp_path / "cut")
    whole = longclip.load(train(config).model).state_dict()
    steps = (tmp_path / "whole" / "checkpoints").iterdir()
    assert {step.name for step in steps} == {"step-00000005"}
    train_until(cut, 2)
    started = saved_bias(cut.out, 1)
    assert abs(started - INITIAL_LOGIT_BIAS) > 1
    assert abs(saved_bias(cut.out, 2) - started) < 0.1
    resumed = longclip.load(train(cut, resume=True).model).state_dict()
    for name, value in whole.items():
        assert value.equal(resumed[name]), name
