"""Evaluation between training steps."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longclip.data import open_collection
from longclip.encoders import CLIPEncoder
from longclip.errors import DataError, ImageError
from longclip.evaluation import evaluate
from longclip.evaluation.benchmarks import BENCHMARKS
from longclip.evaluation.periodic import periodic_evaluation
from tests.data.test_choices import pair
from tests.helpers.models import small_clip
from tests.helpers.training import write_photos

CHOICE_FILES = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos", 12)


def test_numbers_are_those_of_an_evaluation(photos: Path) -> None:
    model = small_clip()
    values = periodic_evaluation([str(photos)])(model)
    collection = open_collection(photos)
    result = evaluate(CLIPEncoder(model, "m"), collection, name="m")
    assert result.long
    assert result.short
    assert values == {
        f"{collection.name} long T2I R@1": result.long.recall.text_to_image[1],
        f"{collection.name} long I2T R@1": result.long.recall.image_to_text[1],
        f"{collection.name} short T2I R@1": result.short.recall.text_to_image[1],
        f"{collection.name} short I2T R@1": result.short.recall.image_to_text[1],
    }


def test_classification_is_named_too(tmp_path: Path) -> None:
    lines = []
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "label": colour}) + "\n")
    (tmp_path / "walls.jsonl").write_text("".join(lines))
    data = tmp_path / "walls.jsonl"
    [(name, value)] = periodic_evaluation([str(data)])(small_clip()).items()
    assert name == f"{open_collection(data).name} label top-1"
    assert 0 <= value <= 1


def test_choices_are_named_by_their_scores(tmp_path: Path) -> None:
    for category in CHOICE_FILES:
        rows = [pair("1.png", 0, caption2="also")]
        (tmp_path / f"{category}.json").write_text(json.dumps(rows))
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "val2017/1.png")
    small = replace(BENCHMARKS["sugarcrepe++"], questions=len(CHOICE_FILES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BENCHMARKS, small.name, small)
        values = periodic_evaluation([f"sugarcrepe++={tmp_path}"])(small_clip())
    assert set(values) == {"sugarcrepe++ image to text", "sugarcrepe++ texts alone"}
    assert set(values.values()) <= {0.0, 1.0}, "it is the same question in every file"


def test_the_model_and_random_numbers_are_left_as_they_were(photos: Path) -> None:
    model = small_clip().train()
    model.vision_model.eval()
    weight = next(model.parameters())
    weight.grad = torch.ones_like(weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())  # type: ignore[index]  # noqa: NPY002
    periodic_evaluation([str(photos)])(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_the_model_is_in_evaluation_mode_meanwhile(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_clip().train()
    seen = []
    own = model.image_features

    def look(pixels: torch.Tensor) -> torch.Tensor:
        seen.append((model.training, torch.is_grad_enabled()))
        return own(pixels)

    monkeypatch.setattr(model, "image_features", look)
    periodic_evaluation([str(photos)])(model)
    assert set(seen) == {(False, False)}


def test_training_mode_comes_back_after_an_error(photos: Path) -> None:
    model = small_clip().train()
    with torch.no_grad():
        next(model.vision_model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="embeddings that are not finite"):
        periodic_evaluation([str(photos)])(model)
    assert model.training


@pytest.mark.parametrize(("memory_gb", "each_time"), [(1.0, 0), (0.0, 12), (5 / 2**18, 8)])
def test_pictures_are_decoded_once_as_far_as_there_is_room(
    memory_gb: float, each_time: int, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_clip()
    size = model.preprocess.image_size
    assert 4 <= 5 * 2**12 / (3 * size**2) < 7, "room for some of the twelve"
    measure = periodic_evaluation([str(photos)], workers=1, memory_gb=memory_gb)
    first = measure(model)
    decoded = []
    kind = type(open_collection(photos))
    own = kind.image

    def look(self, index):  # type: ignore[no-untyped-def]
        decoded.append(index)
        return own(self, index)

    monkeypatch.setattr(kind, "image", look)
    assert measure(model) == first
    if 0 < each_time < 12:
        assert 0 < len(decoded) < 12
    else:
        assert len(decoded) == each_time


def test_data_are_opened_once_and_may_then_go(photos: Path, tmp_path: Path) -> None:
    copy = write_photos(tmp_path / "copy", 12)
    measure = periodic_evaluation([str(copy)])
    first = measure(small_clip())
    for picture in copy.parent.glob("*.png"):
        picture.unlink()
    copy.unlink()
    assert measure(small_clip()) == first


def test_mistakes_show_before_training(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        periodic_evaluation([str(photos), "nowhere.parquet"])
    twin = write_photos(tmp_path / "photos", 3)
    with pytest.raises(ValueError, match="2 collections that are called photos"):
        periodic_evaluation([str(photos), str(twin)])


def test_unreadable_pictures_are_left_out_each_time(tmp_path: Path) -> None:
    data = write_photos(tmp_path / "photos", 12)
    (tmp_path / "photos" / "3.png").write_bytes(b"broken")
    with pytest.raises(ImageError):
        open_collection(data).image(3)
    measure = periodic_evaluation([str(data)], max_bad_fraction=0.1)
    assert measure(small_clip()) == measure(small_clip())
    with pytest.raises(ValueError, match="1 of 12 images"):
        periodic_evaluation([str(data)])(small_clip())


def test_pictures_elsewhere_are_found_and_missed_before_any_is_read(tmp_path: Path) -> None:
    write_photos(tmp_path / "pictures", 3)
    table = tmp_path / "tables/photos.jsonl"
    table.parent.mkdir()
    (tmp_path / "pictures/photos.jsonl").rename(table)
    with pytest.raises(DataError, match="3 of 3 pictures are not there, more than --max-bad-fract"):
        periodic_evaluation([str(table)])
    periodic_evaluation([str(table)], max_bad_fraction=1)
    values = periodic_evaluation([str(table)], images=[tmp_path / "pictures"])(small_clip())
    assert "tables/photos long T2I R@1" in values
