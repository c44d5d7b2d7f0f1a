"""From each process's rows to those of the whole batch, with gradients that find their way back."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from longclip.training.processes import World


def gather(features: Tensor, counts: Sequence[int], world: World) -> Tensor:
    """The rows of all processes, in order of rank.

    Each process computes a share of the loss from all rows, so a row's gradient is the sum of what
    it gets in all of them.

    Args:
        features: [rows of this process, D].
        counts: the rows of each process, by rank; they may differ.
        world: the processes.

    Returns:
        [sum of counts, D]
    """
    if world.size == 1:
        return features
    gathered: Tensor = _Gather.apply(features, tuple(counts), world)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, counts: tuple[int, ...], world: World) -> Tensor:
        ctx.counts, ctx.world = counts, world
        longest = max(counts)
        mine = features.new_zeros(longest, *features.shape[1:])
        mine[: len(features)] = features
        parts = [torch.empty_like(mine) for _ in counts]
        dist.all_gather(parts, mine)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        total = upstream.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: ctx.world.rank])
        return total[start : start + ctx.counts[ctx.world.rank]], None, None
