"""Two teachers: the original for short texts, another model for long ones."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from longclip.data.open import open_training_data
from longclip.errors import CheckpointError, UsageError
from longclip.losses import distillation
from longclip.model import load, save
from longclip.model.clip import CLIP
from longclip.model.stretch import stretch
from longclip.training import PixelStore, TrainConfig, train
from longclip.training.data import Pairs, batches, read_options
from longclip.training.plan import plan_of
from longclip.training.run.model import initial_model
from tests.helpers.training import tiny_config, train_until


def taught_config(photos: Path, folder: Path) -> TrainConfig:
    """A run with a teacher of its own architecture and other weights."""
    config = replace(tiny_config(photos, folder / "run"), dtype="float32", device="cpu")
    save(initial_model(replace(config, seed=9)), folder / "teacher")
    return replace(config, long_teacher=str(folder / "teacher"), long_distill_weight=0.7)


def first_line(config: TrainConfig) -> dict[str, float]:
    line: dict[str, float] = json.loads((config.out / "metrics.jsonl").read_text().splitlines()[0])
    return line


def embedded(model: CLIP, pixels: torch.Tensor, ids: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        features = (model.image_features(pixels), model.text_features(ids))
    return [*(F.normalize(f, dim=-1) for f in features), model.logit_scale.detach().exp()]


def test_similarities_of_long_texts_are_the_teachers(photos: Path, tmp_path: Path) -> None:
    config = replace(taught_config(photos, tmp_path), steps=1, distill_weight=0.4)
    model, teacher = initial_model(config), load(config.long_teacher)
    # What pixels are normalised by is each model's own.
    teacher = CLIP(teacher.config, replace(teacher.preprocess, mean=(0.1, 0.2, 0.3)))
    teacher.load_state_dict(load(config.long_teacher).state_dict())
    save(teacher, config.long_teacher)
    store = PixelStore(open_training_data([photos]), model.preprocess, 1.0)
    pairs = Pairs(store, read_options(config, model))
    batch = next(batches(pairs, plan_of(config, store.collection), first_step=0, workers=0))
    raw, ids = torch.from_numpy(batch.pixels), torch.from_numpy(batch.long)
    ours = embedded(model, model.preprocess.normalize(raw), ids)
    theirs = embedded(teacher, teacher.preprocess.normalize(raw), ids)
    expected = float(distillation(*ours, *theirs))
    assert expected > 1e-3
    train(config)
    line = first_line(config)
    assert line["loss_distill_long"] == pytest.approx(expected, rel=1e-4)
    parts = ("loss_long", "loss_short", "loss_distill", "loss_distill_long")
    weighed = sum(w * line[part] for w, part in zip((1, 1, 0.4, 0.7), parts, strict=True))
    assert line["loss"] == pytest.approx(weighed, rel=1e-5)


def test_a_teacher_of_the_same_weights_has_nothing_to_teach(photos: Path, tmp_path: Path) -> None:
    config = replace(taught_config(photos, tmp_path), steps=1)
    save(initial_model(config), config.long_teacher)
    train(config)
    assert abs(first_line(config)["loss_distill_long"]) < 1e-6


def test_a_run_goes_on_with_the_teacher_it_began_with(photos: Path, tmp_path: Path) -> None:
    config = taught_config(photos, tmp_path)
    whole = load(train(replace(config, out=tmp_path / "whole")).model).state_dict()
    train_until(config, 2)
    moved = replace(config, long_teacher=str(tmp_path / "moved"))
    shutil.copytree(config.long_teacher, moved.long_teacher)
    save(initial_model(replace(config, seed=5)), config.long_teacher)
    with pytest.raises(CheckpointError, match=r"--long-teacher .*teacher is not the teacher that"):
        train(config, resume=True)
    resumed = load(train(moved, resume=True).model).state_dict()
    for name, value in whole.items():
        assert value.equal(resumed[name]), name


def test_a_teacher_that_cannot_read_the_same_is_refused(photos: Path, tmp_path: Path) -> None:
    config = taught_config(photos, tmp_path)
    start = initial_model(replace(config, stretch="none"))
    short = replace(config, long_teacher=str(tmp_path / "short"))
    save(stretch(start, start.context_length + 1), short.long_teacher)
    with pytest.raises(UsageError, match=r"--long-teacher \S*short reads \d+ tokens, the model in"):
        train(short)
    squashed = replace(config, long_teacher=str(tmp_path / "squashed"))
    other = CLIP(start.config, replace(start.preprocess, resize="squash"))
    save(other, squashed.long_teacher)
    with pytest.raises(UsageError, match=r"squash, bicubic\), the model in training of"):
        train(squashed)
    assert not config.out.exists()
    with pytest.raises(CheckpointError, match="nothing-here"):
        train(replace(config, long_teacher=str(tmp_path / "nothing-here")))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"long_teacher": "nano"}, "belong together"),
        ({"long_distill_weight": 1.0}, "belong together"),
        (
            {"long_teacher": "nano", "long_distill_weight": 1.0, "texts": "short"},
            "--long-teacher needs long texts",
        ),
    ],
)
def test_half_a_teacher_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TrainConfig(**change)  # type: ignore[arg-type]
