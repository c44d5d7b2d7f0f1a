"""What says how pictures are read: a file of its own or a processor's, and what it leaves out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.errors import CheckpointError
from longclip.image.preprocess import Preprocess
from tests.helpers.other_towers import write_model

transformers = pytest.importorskip("transformers")

HALF = (0.5, 0.5, 0.5)
SQUARE = {"height": 32, "width": 32}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("siglip", tmp_path_factory.mktemp("siglip"))


@pytest.fixture
def copy(siglip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(siglip, tmp_path / "model"))


def state(directory: Path, content: dict[str, Any]) -> None:
    (directory / "preprocessor_config.json").write_text(json.dumps(content))


def check_against_owner(directory: Path) -> None:
    """Compare the embedding of a picture that is no square with transformers'."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    processor = transformers.AutoImageProcessor.from_pretrained(directory, use_fast=False)
    pixels = processor(picture, return_tensors="pt").pixel_values
    with torch.no_grad():
        theirs = transformers.SiglipModel.from_pretrained(directory).get_image_features(pixels)
    theirs = getattr(theirs, "pooler_output", theirs)
    ours = longclip.load(directory).encode_image([picture])
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_processors_own_file_goes_first(copy: Path) -> None:
    """transformers 5 writes processor_config.json alone, and reads it before the other one."""
    stated = json.loads((copy / "preprocessor_config.json").read_text())
    stated |= {"image_mean": [0.4, 0.5, 0.6], "resample": 2}
    nested = {"image_processor": stated, "processor_class": "SiglipProcessor"}
    (copy / "processor_config.json").write_text(json.dumps(nested))
    check_against_owner(copy)
    (copy / "preprocessor_config.json").unlink()
    check_against_owner(copy)
    assert longclip.load(copy).preprocess.mean == (0.4, 0.5, 0.6)


def test_an_older_processors_file_says_nothing_of_pictures(copy: Path) -> None:
    (copy / "processor_config.json").write_text('{"processor_class": "SiglipProcessor"}')
    assert longclip.load(copy).preprocess.mean == HALF


@pytest.mark.parametrize("change", [{"image_mean": [0.5]}, {"do_flip": True}])
def test_a_wrong_file_of_a_processor_is_named(change: dict[str, Any], copy: Path) -> None:
    nested = {"image_processor": {"size": SQUARE} | change}
    (copy / "processor_config.json").write_text(json.dumps(nested))
    with pytest.raises(CheckpointError, match=rf"processor_config\.json .*{next(iter(change))}"):
        longclip.load(copy)


def test_a_siglip_without_preprocessing_has_that_of_siglip(copy: Path) -> None:
    (copy / "preprocessor_config.json").unlink()
    assert longclip.load(copy).preprocess == Preprocess(32, HALF, HALF, resize="squash")
    longclip.save(longclip.load(copy), copy.parent / "saved")
    check_against_owner(copy.parent / "saved")


@pytest.mark.parametrize(
    "stated",
    [
        {"image_processor_type": "SiglipImageProcessor", "size": SQUARE},
        {"image_processor_type": "ViTImageProcessor", "size": SQUARE},
        {"size": SQUARE},
    ],
)
def test_what_is_left_out_is_as_that_processor_does_it(stated: dict[str, Any], copy: Path) -> None:
    state(copy, stated)
    if "image_processor_type" in stated:
        check_against_owner(copy)
    else:
        assert longclip.load(copy).preprocess.mean == HALF


def test_nulls_of_a_processor_that_cuts_nothing(copy: Path) -> None:
    """As transformers 4 saves its fast processors."""
    names = ("crop_size", "do_center_crop", "do_convert_rgb", "device", "do_pad", "pad_size")
    stated = json.loads((copy / "preprocessor_config.json").read_text())
    state(copy, stated | dict.fromkeys(names))
    check_against_owner(copy)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"do_pad": True}, "do_pad is True, which this version does not know"),
        ({"do_center_crop": True}, "do_center_crop is true, and SiglipImageProcessor cuts"),
        ({"image_processor_type": "BlipImageProcessor"}, "BlipImageProcessor is not known here"),
    ],
)
def test_what_would_change_pictures_is_refused(
    stated: dict[str, Any], says: str, copy: Path
) -> None:
    state(copy, {"image_processor_type": "SiglipImageProcessor", "size": SQUARE} | stated)
    with pytest.raises(CheckpointError, match=rf"preprocessor_config\.json .*{says}"):
        longclip.load(copy)
