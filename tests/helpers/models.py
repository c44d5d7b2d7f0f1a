"""Small random models for tests."""

import torch

from longclip.model import CLIP, CLIPConfig, TextConfig, VisionConfig

SMALL = CLIPConfig(
    text=TextConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    ),
    vision=VisionConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=32,
        patch_size=8,
    ),
    projection_dim=24,
)


def small_clip(config: CLIPConfig = SMALL, seed: int = 0) -> CLIP:
    """A CLIP whose parts all matter: nothing is at its neutral initial value."""
    torch.manual_seed(seed)
    model = CLIP(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model
