"""The pre-norm transformer both towers are made of; parameter names are Hugging Face's."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from longclip.model.config import TowerConfig


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's activation, x·sigmoid(1.702 x); through silu it takes half the passes over x."""
    return F.silu(1.702 * x) * (1 / 1.702)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


def attend(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """Scaled dot-product attention, all tensors [batch, heads, length, head width].

    Where gradients are needed on a CPU in bfloat16, torch's fused kernel is left aside: its
    backward pass is 3 to 5 times slower there than the three plain steps below.
    """
    slow_backward = (
        query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    )
    if not slow_backward:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if causal:
        length = query.shape[-2]
        scores = scores + scores.new_full((length, length), -torch.inf).triu(1)
    # The bfloat16 softmax kernel computes in float32 and rounds once, at its end.
    mixed: Tensor = scores.softmax(dim=-1) @ value
    return mixed


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, *, causal: bool) -> Tensor:
        """[B, L, D] → [B, L, D]."""
        batch, length, width = x_BLD.shape
        query, key, value = (
            projection(x_BLD).view(batch, length, self.heads, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attend(query, key, value, causal=causal)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two linear layers around the tower's activation."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]."""
        return self.fc2(self.activation(self.fc1(x)))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One residual block: attention, then the MLP, each after a LayerNorm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x_BLD: Tensor, *, causal: bool) -> Tensor:
        """[B, L, D] → [B, L, D]."""
        x_BLD = x_BLD + self.self_attn(self.layer_norm1(x_BLD), causal=causal)
        return x_BLD + self.mlp(self.layer_norm2(x_BLD))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.activation_checkpointing = False

    def forward(self, x_BLD: Tensor, *, causal: bool) -> Tensor:
        """[B, L, D] → [B, L, D]; with checkpointing, activations are recomputed in backward."""
        for layer in self.layers:
            if self.activation_checkpointing and torch.is_grad_enabled():
                x_BLD = checkpoint(partial(layer, causal=causal), x_BLD, use_reentrant=False)
            else:
                x_BLD = layer(x_BLD, causal=causal)
        return x_BLD


@torch.no_grad()
def initialize(encoder: Encoder, config: TowerConfig) -> None:
    """CLIP's initialisation: residual branches shrink with depth (Radford et al. 2021, code)."""
    width, depth = config.hidden_size, config.num_hidden_layers
    branch = width**-0.5 * (2 * depth) ** -0.5
    for layer in encoder.layers:
        assert isinstance(layer, Layer)
        attention, mlp = layer.self_attn, layer.mlp
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            nn.init.normal_(projection.weight, std=width**-0.5)
        nn.init.normal_(attention.out_proj.weight, std=branch)
        nn.init.normal_(mlp.fc1.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(mlp.fc2.weight, std=branch)
        for linear in (*_linears(attention), mlp.fc1, mlp.fc2):
            nn.init.zeros_(linear.bias)


def _linears(attention: Attention) -> tuple[nn.Linear, ...]:
    return attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj
