"""The image tower: a vision transformer read at its class token."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.model.config import VisionConfig
from longclip.model.transformer import Encoder, initialize


class VisionEmbeddings(nn.Module):
    """Patches, the class token and positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width, self.patch = config.hidden_size, config.patch_size
        self.grid = config.image_size // config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, self.patch, stride=self.patch, bias=False)
        self.position_embedding = nn.Embedding(self.grid**2 + 1, width)
        nn.init.normal_(self.class_embedding, std=width**-0.5)
        nn.init.normal_(self.patch_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=width**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, 1 + patches, D]."""
        batch = pixels.shape[0]
        # Patches do not overlap, so the convolution is one matrix product, which is faster.
        patches = (
            pixels.view(batch, 3, self.grid, self.patch, self.grid, self.patch)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(batch, self.grid**2, -1)
        )
        x = F.linear(patches, self.patch_embedding.weight.flatten(1))
        classes = self.class_embedding.to(x.dtype).expand(batch, 1, -1)
        return torch.cat([classes, x], dim=1) + self.position_embedding.weight


class VisionTower(nn.Module):
    """Pixels to one vector per image, before the joint projection."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        initialize(self.encoder, config)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, D]: the class token after the last LayerNorm."""
        x_BLD = self.pre_layrnorm(self.embeddings(pixels))
        classes = torch.zeros(x_BLD.shape[0], dtype=torch.int64, device=x_BLD.device)
        x_BD = self.encoder(x_BLD, causal=False, positions_B=classes)
        return self.post_layernorm(x_BD)  # type: ignore[no-any-return]
