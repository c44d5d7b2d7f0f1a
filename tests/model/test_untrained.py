"""Models with random weights, and what lies beside the configuration they are made from."""

import json
from pathlib import Path

import pytest
import torch

import longclip
from longclip.errors import CheckpointError
from longclip.image.preprocess import Preprocess
from longclip.model.convert import convert
from longclip.model.pretrained import untrained
from tests.helpers.models import small_clip
from tests.helpers.other_towers import KINDS, write_model

OTHER = Preprocess(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), interpolation="bilinear")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    model = small_clip()
    model.preprocess = OTHER
    longclip.save(model, tmp_path / "model")
    return tmp_path / "model"


def test_the_preprocessing_beside_a_config_json_is_taken(directory: Path) -> None:
    made = untrained(str(directory / "config.json"))
    assert made.preprocess == OTHER
    assert made.config == longclip.load(directory).config
    (directory / "preprocessor_config.json").unlink()
    assert untrained(str(directory / "config.json")).preprocess == Preprocess(32)
    assert untrained("nano").preprocess == Preprocess(96)


def test_that_of_an_open_clip_config_is_taken(tmp_path: Path) -> None:
    model = small_clip()
    model.preprocess = Preprocess(32, OTHER.mean, OTHER.std)
    longclip.save(model, tmp_path / "model")
    convert(tmp_path / "model", tmp_path / "other", "openclip")
    made = untrained(str(tmp_path / "other/open_clip_config.json"))
    assert made.preprocess == model.preprocess


@pytest.mark.parametrize("kind", KINDS)
def test_that_of_another_family_is_taken_and_saved(kind: str, tmp_path: Path) -> None:
    source = write_model(kind, tmp_path / "model")
    file = "config.json" if kind == "siglip" else "open_clip_config.json"
    expected = longclip.load(source).preprocess
    assert (expected.resize, expected.mean) == ("squash", (0.5, 0.5, 0.5))
    made = untrained(str(source / file))
    assert made.preprocess == expected
    longclip.save(made, tmp_path / "saved")
    assert longclip.load(tmp_path / "saved").preprocess == expected


def test_a_configuration_of_metaclip_2_may_have_any_name(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    tower |= {"num_attention_heads": 2}
    text = {**tower, "vocab_size": 300, "eos_token_id": 1, "bos_token_id": 3, "pad_token_id": 0}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    config = transformers.MetaClip2Config(text_config=text, vision_config=vision, projection_dim=16)
    (tmp_path / "shape.json").write_text(json.dumps(config.to_dict()))
    made = untrained(str(tmp_path / "shape.json"))
    longclip.save(made, tmp_path / "saved")
    torch.testing.assert_close(longclip.load(tmp_path / "saved").state_dict(), made.state_dict())


def test_pictures_of_another_size_are_refused(directory: Path) -> None:
    path = directory / "preprocessor_config.json"
    path.write_text(json.dumps(Preprocess(64).to_json()))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json makes pictures of 64"):
        untrained(str(directory / "config.json"))
    path.write_text(json.dumps({"do_pad": True, "do_thumbnail": True, "resample": 99}))
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json is not CLIP's"):
        untrained(str(directory / "config.json"))
