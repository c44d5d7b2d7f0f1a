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
    """AdamW on groups by what decays (matrices) and what has a rate of its own (text, positions).

    The text position table takes `position_lr_scale` in place of `text_lr_scale`.
    """
    lr = peak_lr(config)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
        decay = config.weight_decay if matrix else 0.0
        groups.setdefault((lr * _rate(name, config), decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )


def _rate(name: str, config: TrainConfig) -> float:
    if name == "text_model.embeddings.position_embedding.weight":
        return config.position_lr_scale
    return config.text_lr_scale if name.startswith("text_model.") else 1.0


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
