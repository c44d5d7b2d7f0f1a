"""Which parameters learn how fast, which decay, and which rows do not learn at all."""

import math

import torch
from torch import Tensor, nn

from longclip.model import CLIP
from longclip.training.config import TrainConfig
from longclip.training.recipes import peak_lr

MAX_LOG_SCALE = math.log(100)
"""CLIP keeps its inverse temperature below 100 (Radford et al. 2021, section 2.5)."""


def make_optimizer(model: CLIP, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in three groups: decayed matrices, everything else, and the text position table."""
    position = model.text_model.embeddings.position_embedding.weight
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter is position:
            continue
        matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
        (decayed if matrix else others).append(parameter)
    lr = peak_lr(config)
    groups = [
        {"params": decayed, "lr": lr, "weight_decay": config.weight_decay},
        {"params": others, "lr": lr, "weight_decay": 0.0},
        {"params": [position], "lr": lr * config.position_lr_scale, "weight_decay": 0.0},
    ]
    for group in groups:
        group["peak_lr"] = group["lr"]
    return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, step: int, total: int, warmup: int) -> None:
    """Linear warm-up over at most a fifth of all steps, then cosine to zero."""
    warmup = min(warmup, total // 5)
    if step < warmup:
        share = (step + 1) / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share


def freeze_first_positions(model: CLIP, keep: int) -> None:
    """Mask the gradient of the first `keep` text positions.

    AdamW then leaves them bit for bit: their moments stay zero, and positions are not decayed.
    """

    def mask(table: Tensor) -> None:
        assert table.grad is not None
        table.grad[:keep] = 0

    if keep:
        position = model.text_model.embeddings.position_embedding.weight
        position.register_post_accumulate_grad_hook(mask)  # type: ignore[no-untyped-call]


@torch.no_grad()
def clamp_logit_scale(model: CLIP) -> None:
    """Keep the inverse temperature at most 100."""
    model.logit_scale.clamp_(max=MAX_LOG_SCALE)
