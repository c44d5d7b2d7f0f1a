"""A run that is resumed knows its data and its model by their content, wherever they are."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import longclip
from longclip.data.open import open_training_data
from longclip.errors import CheckpointError, DataError, UsageError
from longclip.training import TrainConfig, train
from longclip.training.run.content import check_data, data_content
from longclip.training.run.directory import config_json, found_from_anywhere, read_config
from longclip.training.run.model import original_model
from tests.helpers.training import tiny_config, train_until


@pytest.fixture
def stopped(photos: Path, tmp_path: Path) -> TrainConfig:
    """A run that was stopped after three of five steps; its data is a copy of its own."""
    data = tmp_path / "data" / photos.name
    shutil.copytree(photos.parent, data.parent)
    config = tiny_config(data, tmp_path / "run")
    longclip.save(original_model(config), tmp_path / "start")
    config = replace(config, scratch="", model=str(tmp_path / "start"))
    train_until(config, 3)
    return config


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.out / "model" / "model.safetensors")


def expected(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing happens to."""
    whole = replace(config, out=config.out.with_name("whole"))
    shutil.rmtree(whole.out, ignore_errors=True)
    train(whole)
    return weights(whole)


def test_content_that_has_moved_is_named_anew(stopped: TrainConfig, tmp_path: Path) -> None:
    whole = expected(stopped)
    Path(stopped.data[0]).parent.rename(tmp_path / "moved")
    Path(stopped.model).rename(tmp_path / "other")
    data, model = (str(tmp_path / "moved" / "photos.jsonl"),), str(tmp_path / "other")
    train(replace(stopped, data=data, model=model), resume=True)
    for name, value in weights(stopped).items():
        assert torch.equal(value, whole[name])
    assert (read_config(stopped.out).data, read_config(stopped.out).model) == (data, model)


def shrink(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:15]))


def reword(path: Path) -> None:
    path.write_text(path.read_text().replace("8 wide", "9 wide"))


def repaint(path: Path) -> None:
    (path.parent / "0.png").write_bytes((path.parent / "10.png").read_bytes())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shrink, "there are 15 items, there were 20"),
        (reword, "20 items as before, but other texts or pictures"),
        (repaint, "20 items as before, but other texts or pictures"),
    ],
)
def test_data_that_has_changed_is_refused(
    stopped: TrainConfig, change: Callable[[Path], None], says: str
) -> None:
    change(Path(stopped.data[0]))
    with pytest.raises(DataError, match=rf"photos.jsonl is not the data .*{says}.*--changed-data"):
        train(stopped, resume=True)
    assert train(stopped, resume=True, changed_data=True).steps == 5
    train(stopped, resume=True)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("weight = 3", "weight = 2", "`weight` is 2, was 3, of source 2 of the mixture"),
        ("limit = 9", "limit = 8", "`items` is 8, was 9, of source 1 of the mixture"),
        ("join_short = 1", "join_short = 2", "`join_short` is 2, was 1, of source 2"),
    ],
)
def test_what_has_changed_of_a_mixture_is_said(
    old: str, new: str, says: str, tmp_path: Path, photos: Path
) -> None:
    def content(text: str) -> dict[str, object]:
        (tmp_path / "mix.toml").write_text(text)
        known = data_content(open_training_data([tmp_path / "mix.toml"]))
        return json.loads(json.dumps(known))  # type: ignore[no-any-return]

    source = f'[[source]]\ndata = "{photos}"\n'
    text = f"{source}weight = 1\nlimit = 9\n{source}weight = 3\njoin_short = 1\n"
    started = content(text)
    check_data(content(text), started, "mix.toml")
    with pytest.raises(DataError, match=f"mix.toml is not the data .*: {says}"):
        check_data(content(text.replace(old, new)), started, "mix.toml")


def test_a_start_model_that_is_gone_is_missed_only_where_it_is_used(
    stopped: TrainConfig, tmp_path: Path
) -> None:
    whole = expected(stopped)
    Path(stopped.model).rename(tmp_path / "gone")
    shutil.copytree(stopped.out, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "checkpoints")
    with pytest.raises(ValueError, match="start"):
        train(replace(stopped, out=tmp_path / "copy"), resume=True)
    train(stopped, resume=True)
    for name, value in weights(stopped).items():
        assert torch.equal(value, whole[name])


@pytest.mark.parametrize("used", [{"wise_ft": 0.5}, {"distill_weight": 1.0}])
def test_another_start_model_is_refused_where_it_is_used(
    stopped: TrainConfig, tmp_path: Path, used: dict[str, float]
) -> None:
    config = replace(stopped, out=tmp_path / "averaged", **used)  # type: ignore[arg-type]
    train_until(config, 2)
    other = replace(stopped, scratch=str(tmp_path / "architecture.json"), seed=7)
    longclip.save(original_model(other), Path(config.model))
    with pytest.raises(CheckpointError, match=r"--model .*start is not the model .*Put that one"):
        train(config, resume=True)
    with pytest.raises(CheckpointError, match=r"is not the model"):
        train(replace(stopped, model=str(tmp_path / "averaged" / "..") + "/start"), resume=True)


def test_a_start_model_of_another_temperature_is_refused(stopped: TrainConfig) -> None:
    model = longclip.load(stopped.model)
    with torch.no_grad():
        model.logit_scale.add_(0.5)
    config = replace(stopped, out=stopped.out.with_name("averaged"), wise_ft=0.5)
    train_until(config, 2)
    longclip.save(model, Path(config.model))
    with pytest.raises(CheckpointError, match="is not the model"):
        train(config, resume=True)


def test_low_rank_runs_need_no_start_model_either(stopped: TrainConfig, tmp_path: Path) -> None:
    config = replace(stopped, out=tmp_path / "low", lora_rank=2)
    whole = expected(config)
    train_until(config, 3)
    shutil.rmtree(config.model)
    train(config, resume=True)
    for name, value in weights(config).items():
        assert torch.equal(value, whole[name])


def test_relative_paths_are_found_from_another_directory(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    config = tiny_config(Path(photos.name), tmp_path / "run")
    train_until(config, 3)
    monkeypatch.chdir(tmp_path)
    assert train(read_config(config.out), resume=True).steps == 5
    with pytest.raises(UsageError, match="--changed-data is for --resume"):
        train(config, changed_data=True)


def test_names_that_are_no_paths_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    for name in ("nano", "scenes", "owner/name:train", "https://host/a-{0..3}.tar", "", "no/*.tar"):
        assert found_from_anywhere(name) == name
    assert found_from_anywhere("shards/p-{0..3}.tar") == str(tmp_path / "shards/p-{0..3}.tar")
    assert config_json(TrainConfig(data=("shards",)))["data"] == [str(tmp_path / "shards")]
