"""Processes of a run, one plainly or as many as torchrun started, and what they exchange."""

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
from longclip.util.child_process import end_with_parent
from longclip.util.hardware import pick_device

# Only one process evaluates and writes models; the others wait for it that long. A process that
# dies is noticed by torchrun at once, whatever this is.
_COLLECTIVE_TIMEOUT = timedelta(hours=2)
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
        """Return whether this is the process that writes files and reports progress."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return the rows of a batch of `count` that this process takes; all have their own."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def mesh(self) -> DeviceMesh:
        """Return all processes as a mesh of one dimension."""
        return init_device_mesh(self.device.type, (self.size,))

    def gather_numbers(self, *numbers: int) -> list[list[int]]:
        """Return the numbers that each process gives, by rank; all give as many."""
        if self.size == 1:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.int64, device=self.device)
        all_of_them = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(all_of_them, mine)
        return [each.tolist() for each in all_of_them]

    def gather_objects(self, mine: Any) -> list[Any]:
        """Return the small picklable object that each process gives, by rank."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found

    def from_first(self, value: Any) -> Any:
        """Return the picklable object that the first process gives, in all of them."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, in each of them."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, or be the only one.

    Args:
        device: `auto`, or any that torch knows; under torchrun a bare `cuda` means one GPU for
            each process of a machine.

    Raises:
        ValueError: if there is no such device, or not one for each process.
    """
    chosen = torch.device(pick_device(device))
    if chosen.type == "cuda" and chosen.index is None:
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        if torch.cuda.is_available() and local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"process {local_rank} of this machine has no GPU: there are "
                f"{torch.cuda.device_count()}; start as many with --nproc-per-node"
            )
        chosen = torch.device("cuda", local_rank)
    if ":" in device and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"--device {device} would be that of all processes; leave out the number, and each "
            "takes its own"
        )
    if chosen.type == "cuda" and torch.cuda.is_available():
        # Barriers and gathered objects go over the current device, whatever that of our tensors.
        torch.cuda.set_device(chosen)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun ends its processes, but cannot where it is killed itself.
        end_with_parent(os.getppid())
    if dist.is_initialized():  # by a caller, who also takes it down
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(0, 1, chosen)
        return
    # Checkpoints are written from host memory, so the host needs a backend too.
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_COLLECTIVE_TIMEOUT)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        # A moment after a collective is done its thread lets go of it, for which it needs the
        # interpreter; a group that is taken down in that moment waits for the thread for ever.
        time.sleep(_SECONDS_TO_LET_GO)
        dist.destroy_process_group()


def gather(features: Tensor, counts: Sequence[int], world: World) -> Tensor:
    """Return the rows of all processes, in order of rank.

    The gradient of a row is the sum of what it gets in all processes.

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
    """Gather of rows; its transpose is a sum over processes.

    Process p computes a share L_p of the loss L = Σ_p L_p from all rows. A row f enters every
    share, so ∂L/∂f = Σ_p ∂L_p/∂f: the sum, and no mean, of what its copies get in all processes.
    It is the gradient of the whole loss already. Data parallelism will divide the weights'
    gradient by the number of processes, for which `GradientCache.backward` makes up.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, counts: tuple[int, ...], world: World) -> Tensor:
        ctx.counts, ctx.world = counts, world
        # An all-gather wants the same shape everywhere, but a process that had to leave out an
        # unreadable picture has fewer rows.
        mine = features.new_zeros(max(counts), *features.shape[1:])
        mine[: len(features)] = features
        parts = [torch.empty_like(mine) for _ in counts]
        dist.all_gather(parts, mine)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        # A reduce-scatter would send half as much, but it too wants the same shape everywhere.
        total = upstream.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: ctx.world.rank])
        return total[start : start + ctx.counts[ctx.world.rank]], None, None
