"""What the tests of this directory share: texts whose ends matter, and how equal is equal."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import longclip
from longclip.model import CLIP, CLIPConfig

# 212 tokens, of which only the last ones tell the two texts apart.
SENTENCE = "The image captures a serene coastal town, nestled on a hillside. "
LONG_TEXTS = [SENTENCE * 15 + "A red boat.", SENTENCE * 15 + "Two old dogs."]
TEXTS = ["a red boat", "", *LONG_TEXTS]


@dataclass(frozen=True)
class Saved:
    """A model, the directory it was saved in, and its embeddings.

    Attributes:
        text: float32 [4, D], of TEXTS.
        pixels: float32 [2, 3, H, W].
        image: float32 [2, D], of the pixels.
    """

    model: CLIP
    directory: Path
    text: Tensor
    pixels: Tensor
    image: Tensor


def real_clip(config: CLIPConfig) -> CLIP:
    """A random CLIP of a real shape, stretched to 248 tokens, with embeddings about one long.

    Each weight is drawn once, where a model that is made in the usual way draws it and the test's
    noise on it.
    """
    with torch.device("meta"):
        model = CLIP(config)
    model = model.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.02 if parameter.ndim > 1 else 0.05)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
            elif name.endswith("_projection.weight"):
                parameter.mul_(0.1)
    return longclip.stretch(model)


def close(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    """Equal but for rounding in another order."""
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
