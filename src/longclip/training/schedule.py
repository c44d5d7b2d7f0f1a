"""Learning-rate schedule: a peak that grows with the batch, linear warm-up, cosine to zero."""

import math

import torch

from longclip.training.config import TrainConfig

_TABLE_4_BATCH = 1024
_TABLE_4_LR = 1e-4


def peak_lr(config: TrainConfig) -> float:
    """Return the peak learning rate: as given, or Table 4's scaled linearly with the batch size."""
    return config.lr or _TABLE_4_LR * config.batch_size / _TABLE_4_BATCH


def set_lr(optimizer: torch.optim.Optimizer, step: int, total: int, warmup: int) -> None:
    """Set the rates of a step, counted from 0.

    They rise linearly over `warmup` steps, at most a fifth of `total`, then fall to zero as a
    cosine does.
    """
    warmup = min(warmup, total // 5)
    if step < warmup:
        share = (step + 1) / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
