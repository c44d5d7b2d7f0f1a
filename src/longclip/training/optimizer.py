"""AdamW of a run: rates and decay of its parameters, and rows that do not learn at all."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from longclip.spec import POSITION_TABLE
from longclip.training.config import TrainConfig
from longclip.training.forward import Towers
from longclip.training.schedule import peak_lr

MAX_LOG_SCALE = math.log(100)
"""CLIP keeps its inverse temperature below 100 (Radford et al. 2021, section 2.5)."""


def make_optimizer(towers: Towers, config: TrainConfig) -> torch.optim.AdamW:
    """Make AdamW with groups by what decays (matrices) and what has a rate of its own.

    The text tower takes `text_lr_scale`, its position table `position_lr_scale` in place of that.

    Raises:
        ValueError: if nothing learns.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    embeddings = {id(m.weight) for m in towers.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in towers.named_parameters():
        if not parameter.requires_grad:
            continue
        # Decay would pull rows of an embedding to zero in every step in which no text has them.
        matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
        if name.startswith("clip.vision_model.tower."):
            matrix = matrix and _is_matrix(name, parameter.shape)
        decay = config.weight_decay if matrix else 0.0
        if name == f"clip.{POSITION_TABLE}":
            scale = config.position_lr_scale
        else:
            scale = config.text_lr_scale if name.startswith("clip.text_model.") else 1.0
        # A fused step takes tensors that are all sharded or all whole.
        key = (peak_lr(config) * scale, decay, isinstance(parameter, DTensor))
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


def _is_matrix(name: str, shape: Sequence[int]) -> bool:
    """Return whether a parameter of another library's tower is a matrix or the kernel of one.

    Class tokens, queries of a pooling and tables of positions are bare parameters there, whose
    first dimension is 1, and scales of channels have ones behind.
    """
    scale = math.prod(shape) == shape[0]
    return not (scale or shape[0] == 1 or name.rpartition(".")[2].startswith("pos"))


class FrozenRows:
    """First rows of a table, which the optimiser leaves bit for bit as they are.

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
        """Set the rows' gradient to zero; to be called before each step of the optimiser."""
        # That is enough: AdamW's moments of these rows stay zero, and positions are not decayed.
        if self._table.grad is not None:
            self._table.grad.mul_(self._mask)


@torch.no_grad()
def norm(tensors: Iterable[Tensor]) -> float:
    """Return the length of all these as one vector, sharded ones counted whole.

    Every process must call this where some are sharded.
    """
    # A DTensor's own norm would be a collective for each; this way all shards together are one.
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
