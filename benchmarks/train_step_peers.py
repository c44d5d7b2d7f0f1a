"""The training steps that ours is held against, written for one device.

`PublishedClip` and `published_step` do what the published Long-CLIP code does (commit ed8ccfb of
beichenzbc/Long-CLIP, model/model_longclip.py and train/train.py), in our own words: OpenAI's
network with both position tables, texts padded to 248 in two passes of their own, everything
computed at every position, principal components by an SVD of the batch that autograd goes through,
four dense matrices of logits, AdamW over one group. Its float16 with a loss scaler is bfloat16
here. `transformers_step` is what one would write today without either code: `CLIPModel` of
transformers, and `ClipLoss` of open_clip for both branches.
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from longclip.checkpoints.formats.openai import from_huggingface
from longclip.losses.pcm import COMPONENTS
from longclip.model import CLIP
from longclip.model.config import TowerConfig
from longclip.spec import EOT
from longclip.training.data import Batch
from train_step_pairs import CONTEXT_LENGTH

KEPT = 20
LR, WEIGHT_DECAY = 1e-6, 1e-2

Prepared = tuple[Tensor, Tensor, Tensor]
"""Normalised pixels [B, 3, H, W], long and short ids [B, 248]."""


class PublishedClip(nn.Module):
    """OpenAI's CLIP as Long-CLIP changed it.

    Args:
        model: gives the shape and the weights.
        smoothing: of the labels.
    """

    def __init__(self, model: CLIP, smoothing: float) -> None:
        super().__init__()
        config = model.config
        assert config.vision
        assert config.text
        self.smoothing = smoothing
        vision, text = config.vision, config.text
        weights = from_huggingface(model.state_dict())
        self.conv1 = nn.Conv2d(
            3, vision.hidden_size, vision.patch_size, vision.patch_size, bias=False
        )
        self.conv1.weight = nn.Parameter(weights["visual.conv1.weight"].clone())
        self.class_embedding = nn.Parameter(weights["visual.class_embedding"].clone())
        self.visual_positions = nn.Parameter(weights["visual.positional_embedding"].clone())
        self.ln_pre = _layer_norm(weights, "visual.ln_pre")
        self.ln_post = _layer_norm(weights, "visual.ln_post")
        self.proj = nn.Parameter(weights["visual.proj"].clone())
        self.visual = _transformer(vision, weights, "visual.transformer")
        self.token_embedding = nn.Embedding.from_pretrained(
            weights["token_embedding.weight"].clone(), freeze=False
        )
        table = weights["positional_embedding"]
        self.positional_embedding = nn.Parameter(table.clone(), requires_grad=False)
        self.positional_embedding_res = nn.Parameter(table.clone())
        first = (torch.arange(CONTEXT_LENGTH) < KEPT).float()[:, None]
        self.mask1, self.mask2 = nn.Buffer(first), nn.Buffer(1 - first)
        self.causal = nn.Buffer(torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), -torch.inf).triu(1))
        self.text = _transformer(text, weights, "transformer")
        self.ln_final = _layer_norm(weights, "ln_final")
        self.text_projection = nn.Parameter(weights["text_projection"].clone())
        self.logit_scale = nn.Parameter(weights["logit_scale"].clone())

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] → [B, D]."""
        x = self.conv1(pixels).flatten(2).permute(0, 2, 1)
        classes = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([classes, x], dim=1) + self.visual_positions.to(x.dtype))
        for block in self.visual:
            x = block(x.permute(1, 0, 2), None).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor) -> Tensor:
        """int64 [B, 248], zeros behind the end of text → [B, D]."""
        x = self.token_embedding(ids)
        x = x + self.positional_embedding * self.mask1 + self.positional_embedding_res * self.mask2
        x = x.permute(1, 0, 2)
        for block in self.text:
            x = block(x, self.causal)
        x = self.ln_final(x.permute(1, 0, 2))
        rows = torch.arange(len(x), device=x.device)
        return x[rows, ids.argmax(dim=-1)] @ self.text_projection  # type: ignore[no-any-return]

    def forward(self, pixels: Tensor, long: Tensor, short: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of the long and the short branch."""
        images = self.encode_image(pixels)
        long_features, short_features = self.encode_text(long), self.encode_text(short)
        images = images / images.norm(dim=1, keepdim=True)
        long_features = long_features / long_features.norm(dim=1, keepdim=True)
        short_features = short_features / short_features.norm(dim=1, keepdim=True)
        coarse = svd_components(images, COMPONENTS)
        return self._loss(images, long_features), self._loss(coarse, short_features)

    def _loss(self, images: Tensor, texts: Tensor) -> Tensor:
        targets = torch.arange(len(images), device=images.device)
        # Two products, since between GPUs the two are different matrices.
        to_text = self.logit_scale.exp() * (images @ texts.T)
        to_image = self.logit_scale.exp() * (images @ texts.T).T
        losses = [
            F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
            for logits in (to_text, to_image)
        ]
        return (losses[0] + losses[1]) / 2


def svd_components(features: Tensor, k: int) -> Tensor:
    """A batch [B, D] on its mean and its k principal directions, as the published code finds them.

    Gradients go through the SVD itself.
    """
    mean = features.mean(dim=0)
    centred = (features - mean).float()
    directions = torch.linalg.svd(centred, full_matrices=False).Vh.T[:, :k]
    return centred @ directions @ directions.T + mean


class _Norm(nn.LayerNorm):
    """In float32, then back."""

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = super().forward(x.float()).to(x.dtype)
        return normed


class _Block(nn.Module):
    """OpenAI's residual block; length first, batch second."""

    def __init__(self, tower: TowerConfig) -> None:
        super().__init__()
        width, inner = tower.hidden_size, tower.intermediate_size
        self.attn = nn.MultiheadAttention(width, tower.num_attention_heads)
        self.ln_1, self.ln_2 = _Norm(width), _Norm(width)
        self.c_fc, self.c_proj = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        mask = None if mask is None else mask.to(x.dtype)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        inner = self.c_fc(self.ln_2(x))
        return x + self.c_proj(inner * torch.sigmoid(1.702 * inner))  # type: ignore[no-any-return]


def _transformer(tower: TowerConfig, weights: Any, name: str) -> nn.ModuleList:
    blocks = nn.ModuleList(_Block(tower) for _ in range(tower.num_hidden_layers))
    for i, block in enumerate(blocks):
        for key, tensor in block.state_dict().items():
            # OpenAI's linear layers are inside a module called mlp.
            theirs = f"mlp.{key}" if key.startswith("c_") else key
            tensor.copy_(weights[f"{name}.resblocks.{i}.{theirs}"])
    return blocks


def _layer_norm(weights: Any, name: str) -> _Norm:
    norm = _Norm(len(weights[f"{name}.weight"]))
    norm.load_state_dict({key: weights[f"{name}.{key}"] for key in ("weight", "bias")})
    return norm


class PublishedStep:
    """The published step.

    Args:
        model: gives the weights.
        smoothing: of the labels; 0.1 as published.
        bfloat16: whether arithmetic is.
    """

    def __init__(self, model: CLIP, smoothing: float, *, bfloat16: bool) -> None:
        self.network = PublishedClip(model, smoothing).to(model.device).train()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LR, weight_decay=WEIGHT_DECAY
        )
        self._bfloat16 = bfloat16
        self._device = model.device
        self._normalize = model.preprocess.normalize

    def prepare(self, batch: Batch) -> Prepared:
        """Return pairs on the device, in the shape the step wants; not timed."""
        return (
            self._normalize(torch.from_numpy(batch.pixels).to(self._device)),
            _padded(batch.long, 0).to(self._device),
            _padded(batch.short, 0).to(self._device),
        )

    def take(self, prepared: Prepared) -> float:
        """Learn from one batch; its loss."""
        self.optimizer.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            long, short = self.network(*prepared)
            loss = long + short
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss)


class TransformersStep:
    """transformers' CLIPModel with open_clip's loss, which knows no label smoothing."""

    def __init__(self, model: CLIP, smoothing: float, *, bfloat16: bool) -> None:
        import transformers

        assert not smoothing
        config = transformers.CLIPConfig(**model.config.to_json())
        self.network: Any = transformers.CLIPModel(config)
        self.network.load_state_dict(model.state_dict())
        self.network.to(model.device).train()
        self.loss = _clip_loss()
        decayed = [p for p in self.network.parameters() if p.ndim >= 2]
        others = [p for p in self.network.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=WEIGHT_DECAY)
        self._bfloat16 = bfloat16
        self._device = model.device
        self._normalize = model.preprocess.normalize

    def prepare(self, batch: Batch) -> Prepared:
        """Prepare pairs as `PublishedStep` does."""
        return (
            self._normalize(torch.from_numpy(batch.pixels).to(self._device)),
            _padded(batch.long, EOT).to(self._device),
            _padded(batch.short, EOT).to(self._device),
        )

    def take(self, prepared: Prepared) -> float:
        """Learn from one batch; its loss."""
        pixels, long_ids, short_ids = prepared
        self.optimizer.zero_grad()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            images = _unit(self.network.get_image_features(pixel_values=pixels))
            long = _unit(self.network.get_text_features(input_ids=long_ids))
            short = _unit(self.network.get_text_features(input_ids=short_ids))
            scale = self.network.logit_scale.exp()
            coarse = svd_components(images, COMPONENTS)
            loss = self.loss(images, long, scale) + self.loss(coarse, short, scale)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss)


def _unit(output: Any) -> Tensor:
    # An object in transformers 5, a tensor before.
    features = output if isinstance(output, Tensor) else output.pooler_output
    return F.normalize(features, dim=-1)


def _clip_loss() -> Callable[..., Tensor]:
    # open_clip imports image transforms from torchvision, which its loss does not use. Where there
    # is no torchvision a mock that answers to any name stands in for it.
    if importlib.util.find_spec("torchvision") is None:
        for module in ("", ".transforms", ".transforms.functional", ".ops", ".ops.misc"):
            sys.modules[f"torchvision{module}"] = MagicMock()
    from open_clip.loss import ClipLoss  # type: ignore[import-untyped]

    return ClipLoss()  # type: ignore[no-any-return]


def _padded(ids: NDArray[np.int64], padding: int) -> Tensor:
    """int64 [B, L] → [B, 248], with this behind the first end of text."""
    lengths = (ids == EOT).argmax(axis=1) + 1
    found = np.full((len(ids), CONTEXT_LENGTH), padding, np.int64)
    found[:, : ids.shape[1]] = ids
    found[np.arange(CONTEXT_LENGTH) >= lengths[:, None]] = padding
    return torch.from_numpy(found)


def use_plain_attention() -> None:
    """Give the peers the attention of ours on a CPU; the fused one is slow to train there."""

    def plain(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if is_causal:
            scores = scores + scores.new_full(scores.shape[-2:], -torch.inf).triu(1)
        if attn_mask is not None:
            scores = scores + attn_mask
        mixed: Tensor = scores.softmax(dim=-1) @ value
        return mixed

    F.scaled_dot_product_attention = plain  # type: ignore[assignment]
