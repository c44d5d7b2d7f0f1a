"""Forward and backward pass of the towers: features of a batch, and their gradients into weights.

With micro-batches this is gradient caching (Gao et al. 2021, "Scaling deep contrastive learning
batch size under memory limited setup"): a contrastive loss sees features only, so they are made
without a graph, the loss gives each its gradient, and then each micro-batch is computed once more,
with a graph, to take its part of that gradient into the weights. Gradients are those of the whole
batch, activations in memory those of one micro-batch.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from longclip.model import CLIP
from longclip.model.clip import INITIAL_LOGIT_BIAS
from longclip.model.image_tower import ForeignImageTower
from longclip.training.config import Parallel, TrainConfig
from longclip.training.distributed import World
from longclip.util.hardware import has_fast_bfloat16

Outputs = tuple[Tensor | None, Tensor | None, Tensor, Tensor]
"""Image features [N, D] and text features [M, D], None where nothing was given; the inverse
temperature and, for a sigmoid loss, the bias of all logits."""

LOCKSTEP_PARTS = 4
"""Parts, from short texts to long, in which sharded towers read: padding only within each."""


class Towers(nn.Module):
    """Parameters of a run: a CLIP, and for sigmoid losses a bias, which no stock CLIP has.

    Args:
        clip: both towers.
        lockstep: read texts in the same number of calls in every process, as sharding needs.
    """

    def __init__(self, clip: CLIP, *, lockstep: bool = False) -> None:
        super().__init__()
        self.clip = clip
        # A SigLIP has one itself.
        own = None if clip.config.logit_bias else torch.tensor(INITIAL_LOGIT_BIAS)
        bias = None if own is None else nn.Parameter(own.to(clip.device))
        self.register_parameter("logit_bias", bias)
        self.lockstep = lockstep

    @property
    def bias(self) -> nn.Parameter:
        """Bias of all similarities: the model's own where it has one."""
        return cast(
            nn.Parameter, self.clip.logit_bias if self.logit_bias is None else self.logit_bias
        )

    def forward(self, pixels: Tensor | None, ids: Tensor | None) -> Outputs:
        """Return features of normalised pixels [N, 3, H, W], token ids [M, L], or both."""
        clip = self.clip
        images = None if pixels is None else clip.image_features(pixels)
        if ids is None:
            texts = None
        else:
            texts = self._lockstep_text_features(ids) if self.lockstep else clip.text_features(ids)
        # An output must not be the parameter itself: DDP wants the gradient to come through a node.
        return images, texts, clip.logit_scale.exp(), self.bias * 1.0

    def _lockstep_text_features(self, ids: Tensor) -> Tensor:
        """Return what `CLIP.text_features` does, in LOCKSTEP_PARTS calls of the tower."""
        # Where weights are sharded every layer's call is a collective that brings its weights
        # together. A process that made one call more than the others would wait in it for ever,
        # and `CLIP.text_features` makes as many as the lengths of its own texts ask for.
        clip = self.clip
        ids, _, lengths = (tensor.to(clip.device) for tensor in clip.read_places(ids))
        order = lengths.argsort(stable=True)
        features = []
        for part in order.tensor_split(LOCKSTEP_PARTS):
            # A process with fewer texts than parts reads its first one again and drops the result.
            rows = part if len(part) else order[:1]
            longest = int(lengths[rows].max())
            read = clip.text_projection(clip.text_model(ids[rows][:, :longest]))
            features.append(read[: len(part)])
        return torch.cat(features)[order.argsort()]


class ParallelTowers:
    """Towers on one device, replicated (DDP) or sharded (FSDP2).

    Args:
        towers: changed in place where they are sharded.
        world: the processes; each calls every method that computes, in the same order.
        parallel: how several processes hold the weights.
    """

    def __init__(self, towers: Towers, world: World, parallel: Parallel) -> None:
        self.towers = towers
        self.world = world
        self.sharded = world.size > 1 and parallel == "fsdp"
        self._module: nn.Module = towers
        if self.sharded:
            mesh, clip = world.mesh(), towers.clip
            for parameter in clip.parameters():
                # Projections that a file holds the other way round are views of it.
                parameter.data = parameter.data.contiguous()
            # Weights travel in float32 and autocast rounds them, as it does for replicas: sent in
            # bfloat16 they would make the residual stream bfloat16 too, and sharding another
            # computation than replicating.
            for layer in clip.layers():
                fully_shard(layer, mesh=mesh)
                # A layer's weights are brought together when it is called; the last layer is
                # called by these, which read it at single positions only.
                for method in ("at", "at_ends"):
                    register_fsdp_forward_method(layer, method)
            if isinstance(clip.vision_model, ForeignImageTower):
                # What its parts are only its owner knows.
                fully_shard(clip.vision_model, mesh=mesh)
            # A scalar has no rows to divide.
            fully_shard(towers, mesh=mesh, ignored_params={clip.logit_scale, towers.bias})
        elif world.size > 1:
            self._module = DistributedDataParallel(towers, gradient_as_bucket_view=True)

    @torch.no_grad()
    def forward_without_graph(self, pixels: Tensor | None, ids: Tensor | None) -> Outputs:
        """Return features that no gradient flows through."""
        # Replicas exchange nothing for that, so DDP's wrapper would only get in the way.
        module = self._module if self.sharded else self.towers
        return cast(Outputs, module(pixels, ids))

    def forward(self, pixels: Tensor | None, ids: Tensor | None, *, last: bool) -> Outputs:
        """Return features with a graph.

        The backward pass of the `last` part of a step averages gradients over processes.
        """
        # Sharded gradients are reduced part by part: there is no memory for whole ones.
        postponed: AbstractContextManager[Any] = nullcontext()
        if isinstance(self._module, DistributedDataParallel) and not last:
            postponed = self._module.no_sync()
        with postponed:
            return cast(Outputs, self._module(pixels, ids))

    def unsharded_scalars(self) -> list[nn.Parameter]:
        """Return parameters too small to shard, whose gradients the step averages itself."""
        if not self.sharded:
            return []
        return [p for p in (self.towers.clip.logit_scale, self.towers.bias) if p.requires_grad]


@dataclass(frozen=True)
class Features:
    """Features of this process's rows; leaves, so that a loss can fill in `.grad`.

    Attributes:
        images: [N, D].
        texts: [M, D].
        logit_scale: scalar, the inverse temperature.
        logit_bias: scalar, for sigmoid losses.
    """

    images: Tensor
    texts: Tensor
    logit_scale: Tensor
    logit_bias: Tensor


@dataclass(frozen=True)
class _Part:
    """Rows that pass the towers at once; None for a tower that has no more parts.

    Rows may be empty where another process has more: the first row is then computed all the same,
    so that the processes make the same calls, and its result gets no gradient.
    """

    pictures: slice | None
    texts: Tensor | None


class GradientCache:
    """Pass of one step through the towers and back, in parts.

    Args:
        towers: the network.
        pixels: returns the normalised pixels [n, 3, H, W] of a slice of this process's pictures.
        ids: int64 [M, L], this process's texts, M ≥ 1.
        count: N, this process's pictures, N ≥ 1.
        micro_batch: pictures at once; 0 for all.
        autocast: makes the context that the towers run in.
    """

    def __init__(
        self,
        towers: ParallelTowers,
        pixels: Callable[[slice], Tensor],
        ids: Tensor,
        *,
        count: int,
        micro_batch: int,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._towers = towers
        self._pixels = pixels
        self._ids = ids
        self._autocast = autocast
        if not micro_batch:
            self._parts = [_Part(slice(0, count), torch.arange(len(ids)))]
            return
        clip = towers.towers.clip
        assert clip.config.vision
        # As many tokens of text as patches of pictures.
        tokens = micro_batch * clip.config.vision.patches
        pictures = _even_slices(count, -(-count // micro_batch))
        texts = _by_length(clip.read_places(ids)[2], tokens)
        if towers.sharded:
            # Each part is a collective there: all processes must have as many.
            found = torch.tensor(towers.world.gather_numbers(len(pictures), len(texts)))
            most_pictures, most_texts = found.amax(dim=0).tolist()
            pictures = _even_slices(count, most_pictures)
            while len(texts) < most_texts:
                # Halving the largest keeps every part within the budget.
                largest = max(range(len(texts)), key=lambda i: len(texts[i]))
                half = len(texts[largest]) // 2
                texts[largest : largest + 1] = [texts[largest][:half], texts[largest][half:]]
        parts = max(len(pictures), len(texts))
        # Aligned at the end: DDP reduces a gradient as soon as it is ready, in the backward pass of
        # the last part, which must therefore go through both towers.
        self._parts = [
            _Part(
                pictures[i - parts] if parts - i <= len(pictures) else None,
                texts[i - parts] if parts - i <= len(texts) else None,
            )
            for i in range(parts)
        ]

    def features(self) -> Features:
        """Return features of all rows, in their order."""
        # The first part keeps its graph, which saves computing it again.
        self._kept = self._forward(self._parts[0], last=len(self._parts) == 1)
        outputs = [_detached(self._kept, self._parts[0])]
        for part in self._parts[1:]:
            with self._autocast():
                without_graph = self._towers.forward_without_graph(*self._inputs(part))
            outputs.append(_detached(without_graph, part))
        # Texts were read from short to long; an argsort of that order is the way back.
        order = torch.cat([p.texts for p in self._parts if p.texts is not None]).argsort()
        # The loss must end here: its backward pass fills in these and does not enter the towers.
        self._leaves = Features(
            images=torch.cat([o[0] for o in outputs if o[0] is not None]),
            texts=torch.cat([o[1] for o in outputs if o[1] is not None])[order],
            logit_scale=outputs[0][2].detach().clone(),
            logit_bias=outputs[0][3].detach().clone(),
        )
        for leaf in vars(self._leaves).values():
            leaf.requires_grad_()
        return self._leaves

    def backward(self) -> None:
        """Take the gradients of the features into the weights, averaged over all processes.

        What is averaged is each process's share times their number: together, the loss's gradient.
        """
        leaves, size = self._leaves, self._towers.world.size
        for i, part in enumerate(self._parts):
            last = i == len(self._parts) - 1
            outputs = self._forward(part, last=last) if i else self._kept
            wanted = (
                _rows(leaves.images.grad, part.pictures),
                _rows(leaves.texts.grad, part.texts),
                # Every part has the scalars, whose gradient is whole already: it is counted once.
                leaves.logit_scale.grad if last else None,
                leaves.logit_bias.grad if last else None,
            )
            tensors, gradients = [], []
            for tensor, gradient in zip(outputs, wanted, strict=True):
                if tensor is None or not tensor.requires_grad:
                    continue
                tensors.append(tensor)
                if gradient is None or not gradient.numel():
                    # Zero and not left out: every process must walk the same graph, whose hooks
                    # are collectives, to stay in step.
                    gradients.append(torch.zeros_like(tensor))
                else:
                    # DDP and FSDP divide sums over processes by their number; these are sums over
                    # all shares of the loss (see `_Gather`), which must not be divided.
                    gradients.append((gradient * size).to(tensor.dtype))
            if tensors:
                torch.autograd.backward(tensors, gradients)
        del self._kept

    def _forward(self, part: _Part, *, last: bool) -> Outputs:
        with self._autocast():
            return self._towers.forward(*self._inputs(part), last=last)

    def _inputs(self, part: _Part) -> tuple[Tensor | None, Tensor | None]:
        pictures, texts = part.pictures, part.texts
        if pictures is not None and pictures.start == pictures.stop:
            pictures = slice(0, 1)
        if texts is not None and not len(texts):
            texts = texts.new_zeros(1)
        return (
            None if pictures is None else self._pixels(pictures),
            None if texts is None else self._ids[texts],
        )


def _detached(outputs: Outputs, part: _Part) -> Outputs:
    """Return outputs without their graph and without a row that was computed for lock-step."""
    images, texts, scale, bias = outputs
    if images is not None and part.pictures is not None:
        images = images.detach()[: part.pictures.stop - part.pictures.start]
    if texts is not None and part.texts is not None:
        texts = texts.detach()[: len(part.texts)]
    return images, texts, scale, bias


def _rows(gradient: Tensor | None, rows: slice | Tensor | None) -> Tensor | None:
    return None if gradient is None or rows is None else gradient[rows]


def _even_slices(count: int, parts: int) -> list[slice]:
    """Return slices of nearly the same length; some are empty where `parts` exceeds `count`."""
    edges = [i * count // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _by_length(lengths: Tensor, tokens: int) -> list[Tensor]:
    """Return rows from short texts to long, cut where a part's padded size would pass `tokens`."""
    # The text tower sorts and cuts what it gets once more (`model.transformer.micro_batches`). That
    # is about speed and goes by its own budget of padding; this is about memory, and what one part
    # holds decides which gradients are added up first. So neither can stand in for the other.
    order = lengths.argsort(stable=True)
    sizes: Sequence[int] = lengths[order].tolist()
    parts, start = [], 0
    for end, size in enumerate(sizes):
        if end > start and (end + 1 - start) * size > tokens:
            parts.append(order[start:end])
            start = end
    return [*parts, order[start:]]


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context of bfloat16 arithmetic if asked for or "auto" finds hardware for it."""
    # In a step only the towers run in it. Features are made float32 before they are normalised, and
    # losses and principal components are computed in that.
    wanted = config.dtype == "bfloat16" or (config.dtype == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()
