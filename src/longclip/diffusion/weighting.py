"""How a token's weight acts on what the encoder made of it.

Hidden states carry more than their own token, and no rule follows from the model: these are the
ones that people know. All work in float32, and none changes a bit where all weights are 1. In SDXL
each encoder's states are weighted on their own.
"""

from typing import Literal

import torch
from torch import Tensor

Weighting = Literal["a1111", "no-norm", "comfyui"]


def scaled(hidden_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """States times their weights, then the whole window scaled back to the mean it had.

    The rule of AUTOMATIC1111's web UI ("Original" among its emphasis modes). The mean is over all
    tokens and channels of one prompt's window. The web UI takes it over a batch of different
    prompts, which makes a prompt depend on its neighbours; for one prompt the two are the same.

    Args:
        hidden_BTD: hidden states of one window of every prompt.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
    """
    states = hidden_BTD.float()
    heavier = states * weights_BT[..., None]
    mean = states.mean((1, 2), keepdim=True)
    restored = heavier * (mean / heavier.mean((1, 2), keepdim=True))
    weighted = (weights_BT != 1).any(1)[:, None, None]
    return torch.where(weighted, restored.to(hidden_BTD.dtype), hidden_BTD)


def multiplied(hidden_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """States times their weights, and nothing else.

    The web UI's "No norm" mode, which it recommends for SDXL: the mean of SDXL's states is near
    zero, and to restore it can scale a window by any factor.

    Args:
        hidden_BTD: hidden states of one window of every prompt.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
    """
    heavier = (hidden_BTD.float() * weights_BT[..., None]).to(hidden_BTD.dtype)
    return torch.where(weights_BT[..., None] != 1, heavier, hidden_BTD)


def drawn_from_empty(hidden_BTD: Tensor, weights_BT: Tensor, empty_1TD: Tensor) -> Tensor:
    """States moved away from the empty prompt's at the same place, or towards it.

    ComfyUI's rule: empty + weight · (state − empty).

    Args:
        hidden_BTD: hidden states of one window of every prompt.
        weights_BT: float32 weights of the tokens, 1 for start, end and padding.
        empty_1TD: hidden states of the empty prompt.
    """
    empty = empty_1TD.float()
    drawn = empty + weights_BT[..., None] * (hidden_BTD.float() - empty)
    return torch.where(weights_BT[..., None] != 1, drawn.to(hidden_BTD.dtype), hidden_BTD)
