"""Both towers behind one forward pass, as torch's data parallelism wants it."""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FSDPModule,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.nn.parallel import DistributedDataParallel

from longclip.model import CLIP
from longclip.model.towers import end_positions
from longclip.training.config import Parallel
from longclip.training.processes import World

Outputs = tuple[Tensor | None, Tensor | None, Tensor, Tensor]
"""Image features [N, D] and text features [M, D], None where nothing was given; the inverse
temperature and, for a sigmoid loss, the bias of all logits."""

START_BIAS = -10.0
"""SigLIP's first bias: at the start nearly all pairs are negatives (Zhai et al. 2023, sec. 3.2)."""


LOCKSTEP_PARTS = 4
"""Parts, from short texts to long, in which sharded towers read: padding only within each."""


class Towers(nn.Module):
    """What learns in a run: a CLIP, and for sigmoid losses a bias that no stock CLIP has."""

    def __init__(self, clip: CLIP, *, lockstep: bool = False) -> None:
        super().__init__()
        self.clip = clip
        self.logit_bias = nn.Parameter(torch.tensor(START_BIAS, device=clip.device))
        self.lockstep = lockstep

    def forward(self, pixels: Tensor | None, ids: Tensor | None) -> Outputs:
        """Normalised pixels [N, 3, H, W] and token ids [M, L], either or both."""
        clip = self.clip
        images = None if pixels is None else clip.image_features(pixels)
        texts = None if ids is None else self._texts(ids)
        return images, texts, clip.logit_scale.exp(), self.logit_bias * 1.0

    def _texts(self, ids: Tensor) -> Tensor:
        if not self.lockstep:
            return self.clip.text_features(ids)
        # Where weights are sharded every layer's call is a collective, and all processes must make
        # the same number of them: as many micro-batches, however many texts there are.
        ids = ids.to(self.clip.device)
        order = end_positions(ids, self.clip.text_model.eos_token_id).argsort(stable=True)
        features = [
            # A process with few texts has one go along for company.
            self._read(ids[part if len(part) else order[:1]])[: len(part)]
            for part in order.tensor_split(LOCKSTEP_PARTS)
        ]
        return torch.cat(features)[order.argsort()]

    def _read(self, ids: Tensor) -> Tensor:
        tower = self.clip.text_model
        ends = end_positions(ids, tower.eos_token_id)
        x_BLD = tower.embeddings(ids[:, : int(ends.max()) + 1])
        return self.clip.text_projection(tower.read(x_BLD, ends))  # type: ignore[no-any-return]


class ParallelTowers:
    """Towers on one device, replicated (DDP) or sharded (FSDP2)."""

    def __init__(self, towers: Towers, world: World, parallel: Parallel) -> None:
        self.towers = towers
        self.world = world
        self.sharded = world.size > 1 and parallel == "fsdp"
        self._module: nn.Module = towers
        if self.sharded:
            _shard(towers, world)
        elif world.size > 1:
            self._module = DistributedDataParallel(towers, gradient_as_bucket_view=True)

    @torch.no_grad()
    def look(self, pixels: Tensor | None, ids: Tensor | None) -> Outputs:
        """Features without a graph."""
        # Replicas need no word from each other for that.
        module = self._module if self.sharded else self.towers
        return cast(Outputs, module(pixels, ids))

    def forward(self, pixels: Tensor | None, ids: Tensor | None, *, last: bool) -> Outputs:
        """Features with a graph.

        The backward pass of the `last` part of a step averages gradients over processes.
        """
        with self._sync(last):
            return cast(Outputs, self._module(pixels, ids))

    def _sync(self, last: bool) -> AbstractContextManager[object]:
        if isinstance(self._module, DistributedDataParallel) and not last:
            return cast(AbstractContextManager[object], self._module.no_sync())
        # Sharded gradients are reduced part by part: whole ones are what there is no room for.
        return nullcontext()

    def scalars(self) -> list[nn.Parameter]:
        """What is too small to shard; the step averages its gradients itself."""
        if not self.sharded:
            return []
        return [
            p for p in (self.towers.clip.logit_scale, self.towers.logit_bias) if p.requires_grad
        ]


def _shard(towers: Towers, world: World) -> None:
    mesh, clip = world.mesh(), towers.clip
    # Weights travel in float32 and autocast rounds them, as it does for replicas: sent in bfloat16
    # they would make the residual stream bfloat16 too, and sharding another computation.
    for tower in (clip.text_model, clip.vision_model):
        for layer in tower.encoder.layers:
            fully_shard(layer, mesh=mesh)
            for pooled in ("at", "at_ends"):
                register_fsdp_forward_method(layer, pooled)
    ignored = {clip.logit_scale, towers.logit_bias}
    fully_shard(towers, mesh=mesh, ignored_params=ignored)
    assert isinstance(towers, FSDPModule)
