"""The processes of a run, one plainly or as many as torchrun started, and what they exchange."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from longclip.errors import UsageError
from longclip.util.hardware import pick_device

# Only one process evaluates and writes models; the others wait for it that long. A process that
# dies is noticed by torchrun at once, whatever this is.
_TIMEOUT = timedelta(hours=2)
_SECONDS_TO_LET_GO = 0.2


@dataclass(frozen=True)
class World:
    """One process among all of a run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        device: where its tensors are.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and tells how it goes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The rows of a batch of `count` that this process takes; all processes' cover it."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def mesh(self) -> DeviceMesh:
        """All processes in one row."""
        return init_device_mesh(self.device.type, (self.size,))

    def gather_numbers(self, *numbers: int) -> list[list[int]]:
        """What each process has for these numbers, by rank."""
        if self.size == 1:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.int64, device=self.device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(all_of_them, mine)
        return [each.tolist() for each in all_of_them]

    def gather_objects(self, mine: Any) -> list[Any]:
        """A small picklable object from each process of this run, by rank."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one.

    Args:
        device: `auto`, or any that torch knows; under torchrun a bare `cuda` means one GPU for
            each process of a machine.

    Raises:
        ValueError: if there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if ":" in device and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"--device {device} would be that of all processes; leave out the number, and each "
            "takes its own"
        )
    if chosen.type == "cuda" and torch.cuda.is_available():
        torch.cuda.set_device(chosen)
    if size == 1 or dist.is_initialized():
        rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        yield World(rank, size, chosen)
        return
    # Checkpoints are written from host memory, so the host needs a backend too.
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        # A moment after a collective is done its thread lets go of it, for which it needs the
        # interpreter; a group that is taken down in that moment waits for the thread for ever.
        time.sleep(_SECONDS_TO_LET_GO)
        dist.destroy_process_group()


def _device(name: str, *, local_rank: int) -> torch.device:
    device = torch.device(pick_device(name))
    if device.type == "cuda" and device.index is None:
        if torch.cuda.is_available() and local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"process {local_rank} of this machine has no GPU: there are "
                f"{torch.cuda.device_count()}; start as many with --nproc-per-node"
            )
        return torch.device("cuda", local_rank)
    return device


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
