"""Files of `convert --to openai` in OpenAI's own code."""

from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

import longclip
from longclip.errors import CheckpointError
from longclip.model import CLIPConfig, TextConfig, VisionConfig
from longclip.model.convert import convert
from tests.helpers.models import small_clip
from tests.helpers.openai_library import openai_clip
from tests.helpers.plug_and_play import LONG_TEXTS, close, real_clip

# ViT-B/16 but for its depth.
SHALLOW = CLIPConfig(
    text=TextConfig(512, 2048, 2, 8),
    vision=VisionConfig(768, 3072, 2, 12, image_size=224, patch_size=16),
    projection_dim=512,
)


@torch.inference_mode()
def test_build_model(tmp_path: Path) -> None:
    # build_model stores matrices in half precision; these weights fit.
    model = real_clip(SHALLOW).half().float()
    longclip.save(model, tmp_path / "hf", dtype=torch.float16)
    convert(tmp_path / "hf", tmp_path / "clip.pt", "openai")
    # As `clip.load` does, whose first attempt is that the file is a TorchScript archive.
    state = torch.jit.load(tmp_path / "clip.pt", map_location="cpu").eval().state_dict()
    assert state["token_embedding.weight"].dtype == torch.float16
    theirs = openai_clip().build_model(state).float().eval()
    assert theirs.context_length == 248
    assert theirs.vocab_size == 49408
    assert theirs.visual.input_resolution == 224
    ids = longclip.tokenize(LONG_TEXTS)
    padded = torch.nn.functional.pad(ids, (0, 248 - ids.shape[1]))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    close(theirs.encode_text(padded), model.encode_text(LONG_TEXTS))
    close(theirs.encode_image(pixels), model.encode_image(pixels))
    close(theirs.logit_scale, model.logit_scale)


def test_other_inner_widths_are_refused(tmp_path: Path) -> None:
    """build_model reads widths and depths off the shapes, and takes the inner width for 4 times."""
    text = TextConfig(64, 128, 1, 1)
    vision = VisionConfig(64, 256, 1, 1, image_size=32, patch_size=16)
    longclip.save(small_clip(CLIPConfig(text, vision, 24)), tmp_path / "hf")
    with pytest.raises(CheckpointError, match=r"128 .*--to openclip"):
        convert(tmp_path / "hf", tmp_path / "clip.pt", "openai")


def test_it_is_openais_and_free_software() -> None:
    openai_clip()
    package = distribution("clip-anytorch")
    (licence,) = [file for file in package.files or () if file.name == "LICENSE"]
    text = licence.read_text()
    assert text.startswith("MIT License")
    assert "OpenAI" in text
