"""Which parameters learn how fast, which decay, and which rows do not learn at all."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from longclip.spec import POSITION_TABLE
from longclip.training.config import TrainConfig
from longclip.training.forward import Towers
from longclip.training.recipes import peak_lr

MAX_LOG_SCALE = math.log(100)
"""CLIP keeps its inverse temperature below 100 (Radford et al. 2021, section 2.5)."""


def make_optimizer(towers: Towers, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW on groups by what decays (matrices) and what has a rate of its own (text, positions).

    The text position table takes `position_lr_scale` in place of `text_lr_scale`.

    Raises:
        ValueError: if nothing learns.
    """
    lr = peak_lr(config)
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    embeddings = {id(m.weight) for m in towers.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in towers.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
        decay = config.weight_decay if matrix else 0.0
        rate = lr * _rate(name.removeprefix("clip."), config)
        # A fused step takes tensors that are all sharded or all whole.
        key = (rate, decay, isinstance(parameter, DTensor))
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay}
            for (rate, decay, _), parameters in groups.items()
        ],
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )


def _rate(name: str, config: TrainConfig) -> float:
    if name == POSITION_TABLE:
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


class FrozenRows:
    """Keeps the first rows of a table as they are.

    Their gradient is masked. AdamW then leaves them bit for bit: their moments stay zero, and
    positions are not decayed.

    Args:
        table: [rows, D], whole or sharded.
        keep: how many rows stay.
    """

    def __init__(self, table: nn.Parameter, keep: int) -> None:
        self._table = table
        mask = torch.ones(table.shape[0], 1, device=table.device)
        mask[:keep] = 0
        self._mask: Tensor = mask
        if isinstance(table, DTensor):
            self._mask = distribute_tensor(mask, table.device_mesh, table.placements)

    @torch.no_grad()
    def mask_gradient(self) -> None:
        """To be called before each step of the optimiser."""
        if self._table.grad is not None:
            self._table.grad.mul_(self._mask)


@torch.no_grad()
def norm(tensors: Iterable[Tensor]) -> float:
    """The length of all these as one vector; sharded ones are counted whole, in every process."""
    whole, shards = [], []
    for tensor in tensors:
        if isinstance(tensor, DTensor):
            shards.append(torch.linalg.vector_norm(tensor.to_local()).square())
            mesh = tensor.device_mesh
        else:
            whole.append(torch.linalg.vector_norm(tensor).square())
    total = torch.stack(whole).sum() if whole else torch.zeros(())
    if shards:
        sharded = torch.stack(shards).sum()
        torch.distributed.all_reduce(sharded, group=mesh.get_group())
        total = total.to(sharded.device) + sharded
    return float(total.sqrt())


@torch.no_grad()
def clip_gradient(parameters: Iterable[Tensor], length: float, most: float) -> None:
    """Shorten gradients of this length to `most`."""
    if length > most:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(most / length)


@torch.no_grad()
def clamp_logit_scale(logit_scale: Tensor) -> None:
    """Keep the inverse temperature at most 100; one that is frozen stays what it is."""
    if logit_scale.requires_grad:
        logit_scale.clamp_(max=MAX_LOG_SCALE)
