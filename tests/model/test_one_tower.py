"""One tower out of a whole checkpoint, without reading the other."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import longclip
from longclip.errors import CheckpointError
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from tests.helpers.models import SMALL, small_clip
from tests.helpers.other_towers import KINDS, write_model

IDS = torch.tensor([[49406, 5, 9, 49407, 49407], [49406, 7, 8, 11, 49407]])
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

# The image tower is 200 MB, the text tower 13.
LOPSIDED = CLIPConfig(
    text=TextConfig(64, 256, 1, 1),
    vision=VisionConfig(1024, 4096, 4, 16, image_size=32, patch_size=8),
    projection_dim=24,
)
MEMORY = """
import sys
from pathlib import Path
import longclip, torch
import longclip.model.pretrained

def megabytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))

longclip.load("nano").encode_text("warm")
before = megabytes()
model = longclip.load(sys.argv[1], tower=sys.argv[2])
for parameter in model.parameters():
    parameter.detach().sum()
print(megabytes() - before)
"""


@torch.inference_mode()
def test_each_tower_alone_embeds_as_in_the_whole(tmp_path: Path) -> None:
    whole = small_clip()
    longclip.save(whole, tmp_path / "a")
    text = longclip.load(tmp_path / "a", tower="text")
    image = longclip.load(tmp_path / "a", tower="image")
    assert torch.equal(text.encode_text(IDS), whole.encode_text(IDS))
    assert torch.equal(image.encode_image(PIXELS), whole.encode_image(PIXELS))
    assert not any("vision" in name for name in text.state_dict())
    assert not any("text" in name for name in image.state_dict())
    with pytest.raises(ValueError, match="text tower alone"):
        text.encode_image(PIXELS)
    # And alone on disk, where the same call finds it again.
    longclip.save(text, tmp_path / "t")
    again = longclip.load(tmp_path / "t", tower="text")
    assert torch.equal(again.encode_text(IDS), text.encode_text(IDS))
    with pytest.raises(CheckpointError, match="t has no image tower"):
        longclip.load(tmp_path / "t", tower="image")


def test_a_biased_text_projection_stays(tmp_path: Path) -> None:
    whole = small_clip(replace(SMALL, text_projection_bias=True))
    longclip.save(whole, tmp_path / "a")
    text = longclip.load(tmp_path / "a", tower="text")
    assert torch.equal(text.encode_text(IDS), whole.encode_text(IDS))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux's memory figures")
@pytest.mark.parametrize("layout", ["hf", "openai"])
def test_the_other_tower_stays_in_the_file(layout: str, tmp_path: Path) -> None:
    longclip.save(small_clip(LOPSIDED), tmp_path / "hf")
    if layout == "openai":
        convert(tmp_path / "hf", tmp_path / "openai", "openai")

    def taken(tower: str) -> float:
        command = [sys.executable, "-c", MEMORY, str(tmp_path / layout), tower]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert taken("text") < 60
    assert taken("image") > 150


@pytest.mark.parametrize("kind", KINDS)
def test_each_tower_of_another_family_alone(kind: str, tmp_path: Path) -> None:
    directory = write_model(kind, tmp_path)
    whole = longclip.load(directory)
    assert whole.config.vision
    pixels = torch.rand(2, 3, *[whole.config.vision.image_size] * 2)
    image = longclip.load(directory, tower="image")
    assert (image.device, image.dtype) == (torch.device("cpu"), torch.float32)
    assert torch.equal(image.encode_image(pixels), whole.encode_image(pixels))
    text = longclip.load(directory, tower="text")
    ids = torch.tensor([[5, 6, 49407], [8, 9, 49407]])
    assert torch.equal(text.encode_text(ids), whole.encode_text(ids))
