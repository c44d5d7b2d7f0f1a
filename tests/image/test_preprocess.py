import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longclip.errors import ImageError
from longclip.image.preprocess import Preprocess


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 10_000 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def torchvisions_box(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Size after Resize(size), then left and top of CenterCrop(size), from torchvision's text."""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    new_width, new_height = (new_short, new_long) if width <= height else (new_long, new_short)
    top = round((new_height - size) / 2.0)
    left = round((new_width - size) / 2.0)
    return new_width, new_height, left, top


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_pixels_are_torchvisions(width: int, height: int, size: int) -> None:
    image = picture(width, height)
    new_width, new_height, left, top = torchvisions_box(width, height, size)
    whole = np.array(image.resize((new_width, new_height), Image.Resampling.BICUBIC))
    pixels = Preprocess(image_size=size).pixels(image)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, whole[top : top + size, left : left + size])


def transformers_processor(preprocess: Preprocess) -> Any:
    """transformers' CLIPImageProcessor on Pillow; its name depends on the version."""
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    except ImportError:
        transformers = pytest.importorskip("transformers")
        return transformers.CLIPImageProcessor(**preprocess.to_json())
    return CLIPImageProcessorPil(**preprocess.to_json())


# With a surplus of 3, 7, 11 … pixels transformers crops one pixel beside torchvision: see below.
SIZES = [(224, 224), (225, 224), (301, 500), (640, 480), (37, 53), (1, 1), (3, 2), (1023, 767)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_parity_with_transformers(size: tuple[int, int], mode: str) -> None:
    width, height, _, _ = torchvisions_box(*size, 224)
    assert (width + height - 2 * 224) % 4 != 3
    image = picture(*size).convert(mode)
    preprocess = Preprocess()
    theirs = transformers_processor(preprocess)(image, return_tensors="pt")["pixel_values"][0]
    ours = preprocess(image)
    assert ours.dtype == torch.float32
    assert ours.shape == (3, 224, 224)
    assert (ours - theirs).abs().max() <= 1e-5


def test_transformers_rounds_the_crop_down() -> None:
    """A surplus of 3 columns: torchvision drops 2 on the left, transformers 1."""
    image = picture(227, 224)
    theirs = transformers_processor(Preprocess())(image, return_tensors="pt")["pixel_values"][0]
    ours = Preprocess()(image)
    assert (ours[:, :, :-1] - theirs[:, :, 1:]).abs().max() <= 1e-5


def test_other_modes_are_decoded_first() -> None:
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 0))
    assert (Preprocess(image_size=4).pixels(clear) == 255).all()


def test_normalize() -> None:
    preprocess = Preprocess(image_size=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    expected = torch.empty(2, 3, 5, 4, dtype=torch.float64)
    for channel, (mean, std) in enumerate(zip(preprocess.mean, preprocess.std, strict=True)):
        expected[:, channel] = (pixels[:, channel].double() / 255 - mean) / std
    normalized = preprocess.normalize(pixels)
    assert normalized.dtype == torch.float32
    assert normalized.is_contiguous()
    assert (normalized - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(2, 5, 4, 3, dtype=torch.uint8),
        torch.zeros(3, 5, 4, dtype=torch.uint8),
        torch.zeros(2, 3, 5, 4),
    ],
)
def test_normalize_wants_uint8_channels_first(pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[N, 3, H, W\]"):
        Preprocess().normalize(pixels)


def test_a_call_is_pixels_normalized() -> None:
    preprocess = Preprocess(image_size=8)
    image = picture(13, 9)
    pixels = torch.from_numpy(preprocess.pixels(image).copy()).permute(2, 0, 1)
    assert torch.equal(preprocess(image), preprocess.normalize(pixels[None])[0])


def test_too_narrow() -> None:
    with pytest.raises(ImageError, match="1 x 20000 pixels is too narrow"):
        Preprocess().pixels(Image.new("RGB", (1, 20_000)))
    assert Preprocess().pixels(Image.new("RGB", (2, 400))).shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size is 0"),
        ({"mean": (0.5, 0.5)}, "three values"),
        ({"std": (0.5, 0.5, 0.0)}, "above 0"),
    ],
)
def test_wrong_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocess(**options)


def test_json_round_trip() -> None:
    for preprocess in (Preprocess(), Preprocess(336, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))):
        assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


def test_json_is_what_transformers_writes() -> None:
    theirs = json.loads(transformers_processor(Preprocess(image_size=336)).to_json_string())
    ours = Preprocess(image_size=336).to_json()
    assert {key: theirs[key] for key in ours} == ours
    assert Preprocess.from_json(theirs) == Preprocess(image_size=336)


def test_json_of_older_versions() -> None:
    assert Preprocess.from_json({"size": 336, "crop_size": 336}) == Preprocess(image_size=336)
    assert Preprocess.from_json({}) == Preprocess()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": {"height": 224, "width": 224}}, "not the same square"),
        ({"size": {"shortest_edge": 256}}, "not the same square"),
        ({"crop_size": {"height": 224, "width": 200}}, "not the same square"),
        ({"resample": 0}, "resample is 0"),
        ({"do_center_crop": False}, "do_center_crop is False"),
        ({"rescale_factor": 1.0}, "rescale_factor is 1.0"),
    ],
)
def test_json_that_is_not_clips(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocess.from_json(Preprocess().to_json() | change)
