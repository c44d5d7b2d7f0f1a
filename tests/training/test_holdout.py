"""Runs that measure on pictures of their own data, which they do not train on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import longclip
from longclip.data.collection import Collection
from longclip.errors import UsageError
from longclip.evaluation.periodic import holdout_evaluation
from longclip.training import TrainConfig, train
from tests.helpers.training import tiny_config, train_until


def holdout_config(photos: Path, out: Path) -> TrainConfig:
    return replace(tiny_config(photos, out), steps=4, holdout=6, evaluate_every=1, log_every=1)


def texts_of(collection: Collection) -> set[str]:
    return {text for i in range(len(collection)) for text in collection.captions(i).long}


def test_held_out_pictures_are_measured_on_and_not_trained_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longclip.training import data

    held: list[Collection] = []
    trained: set[str] = set()
    sample = data.sample_texts

    def note(captions, *rest):  # type: ignore[no-untyped-def]
        trained.update(captions.long)
        return sample(captions, *rest)

    def measure(collection: Collection, bad: float) -> Callable[[longclip.CLIP], dict[str, float]]:
        held.append(collection)
        return holdout_evaluation(collection, bad)

    monkeypatch.setattr(data, "sample_texts", note)
    lines: list[str] = []
    config = replace(holdout_config(photos, tmp_path / "run"), keep_best="held-out long T2I")
    result = train(config, measure_holdout=measure, on_start=lines.extend)
    assert not texts_of(held[0]) & trained
    assert len(texts_of(held[0])) == 6
    assert len(trained) > 8
    assert "data: 14 pictures to train on, 6 held out (seed 0)" in lines
    assert (
        result.before.keys()
        == result.after.keys()
        == {f"held-out {kind} {way} R@1" for kind in ("long", "short") for way in ("T2I", "I2T")}
    )


def test_a_resumed_run_holds_out_the_same(photos: Path, tmp_path: Path) -> None:
    whole = holdout_config(photos, tmp_path / "whole")
    cut = replace(whole, out=tmp_path / "cut")
    expected = train(whole, measure_holdout=holdout_evaluation)
    train_until(cut, 2, measure_holdout=holdout_evaluation)
    with pytest.raises(UsageError, match="holdout"):
        train(replace(cut, holdout=5), resume=True, measure_holdout=holdout_evaluation)
    result = train(cut, resume=True, measure_holdout=holdout_evaluation)
    assert (result.before, result.after) == (expected.before, expected.after)
    weights = [each.model / "model.safetensors" for each in (expected, result)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_too_few_left_to_train_on_are_refused(photos: Path, tmp_path: Path) -> None:
    config = replace(holdout_config(photos, tmp_path / "run"), holdout=0.7)
    with pytest.raises(UsageError, match=r"--holdout 0.7 leaves 6 pictures .* one batch of 8"):
        train(config, measure_holdout=holdout_evaluation)
    with pytest.raises(UsageError, match=r"--holdout 1.5 is no number of pictures"):
        replace(config, holdout=1.5)
