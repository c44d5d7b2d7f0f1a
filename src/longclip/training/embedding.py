"""The towers' part of a step: features of a batch, and later their gradients into the weights.

With micro-batches this is gradient caching (Gao et al. 2021, "Scaling deep contrastive learning
batch size under memory limited setup"): a contrastive loss sees features only, so they are made
without a graph, the loss gives each its gradient, and then each micro-batch is computed once more,
with a graph, to take its part of that gradient into the weights. Gradients are those of the whole
batch, activations in memory those of one micro-batch.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from longclip.training.processes import World
from longclip.training.towers import Outputs, ParallelTowers


@dataclass(frozen=True)
class Features:
    """What the towers made of this process's rows; leaves, so that a loss can fill in `.grad`.

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
    """What goes through the towers at once; either may be missing.

    Rows may be empty where another process has more: the first row then goes through for
    company, without a gradient.
    """

    pictures: slice | None
    texts: Tensor | None


class Embedding:
    """One step's pass through the towers and back.

    Args:
        towers: where pictures and texts go through.
        pixels: gives the normalised pixels [n, 3, H, W] of a slice of this process's pictures.
        ids: int64 [M, L], this process's texts, M ≥ 1.
        count: N, this process's pictures, N ≥ 1.
        micro_batch: pictures at once; 0 for all.
        autocast: makes the context that the towers run in.
        world: for agreeing on the number of parts where weights are sharded.
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
        world: World,
    ) -> None:
        self._towers = towers
        self._pixels = pixels
        self._ids = ids
        self._autocast = autocast
        self._parts = self._plan(count, micro_batch, world)

    def _plan(self, count: int, micro_batch: int, world: World) -> list[_Part]:
        if not micro_batch:
            return [_Part(slice(0, count), torch.arange(len(self._ids)))]
        config = self._towers.towers.clip.config
        vision, text = config.vision, config.text
        assert vision
        assert text
        # As many tokens of text as patches of pictures.
        tokens = micro_batch * ((vision.image_size // vision.patch_size) ** 2 + 1)
        pictures = _even_slices(count, -(-count // micro_batch))
        texts = _by_length(self._ids, text.eos_token_id, tokens)
        if self._towers.sharded:
            # Each part is a collective there: all processes must have as many.
            most = torch.tensor(world.gather_numbers(len(pictures), len(texts))).amax(dim=0)
            pictures = _even_slices(count, int(most[0]))
            texts = _more(texts, int(most[1]))
        parts = max(len(pictures), len(texts))
        # Aligned at the end: the part that synchronises must have used every weight.
        return [
            _Part(
                pictures[i - parts] if parts - i <= len(pictures) else None,
                texts[i - parts] if parts - i <= len(texts) else None,
            )
            for i in range(parts)
        ]

    def features(self) -> Features:
        """Features of all rows, in their order."""
        # The first part keeps its graph, which saves computing it again.
        self._kept = self._forward(self._parts[0], last=len(self._parts) == 1)
        outputs = [_real(self._kept, self._parts[0])]
        for part in self._parts[1:]:
            with self._autocast():
                outputs.append(_real(self._towers.look(*self._inputs(part)), part))
        order = torch.cat([p.texts for p in self._parts if p.texts is not None]).argsort()
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
        """Take the gradients of the features into the weights, summed over all processes."""
        for i, part in enumerate(self._parts):
            last = i == len(self._parts) - 1
            outputs = self._forward(part, last=last) if i else self._kept
            self._backward(outputs, part, scalars=last)
        del self._kept

    def _backward(self, outputs: Outputs, part: _Part, *, scalars: bool) -> None:
        leaves, size = self._leaves, self._towers.world.size
        images, texts, scale, bias = outputs
        pairs = [
            (images, _rows(leaves.images.grad, part.pictures)),
            (texts, _rows(leaves.texts.grad, part.texts)),
            (scale, leaves.logit_scale.grad if scalars else None),
            (bias, leaves.logit_bias.grad if scalars else None),
        ]
        tensors, gradients = [], []
        for tensor, gradient in pairs:
            if tensor is None or not tensor.requires_grad:
                continue
            tensors.append(tensor)
            # Data parallelism averages; the loss is a sum over processes.
            if gradient is None or not gradient.numel():
                gradients.append(torch.zeros_like(tensor))
            else:
                gradients.append((gradient * size).to(tensor.dtype))
        if tensors:
            torch.autograd.backward(tensors, gradients)

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


def _real(outputs: Outputs, part: _Part) -> Outputs:
    """Outputs without their graph, and without the rows that went along for company."""
    images, texts, scale, bias = outputs
    if images is not None and part.pictures is not None:
        images = images.detach()[: part.pictures.stop - part.pictures.start]
    if texts is not None and part.texts is not None:
        texts = texts.detach()[: len(part.texts)]
    return images, texts, scale, bias


def _rows(gradient: Tensor | None, rows: slice | Tensor | None) -> Tensor | None:
    return None if gradient is None or rows is None else gradient[rows]


def _even_slices(count: int, parts: int) -> list[slice]:
    """So many slices of nearly the same length; some are empty where there are more than rows."""
    edges = [i * count // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _by_length(ids: Tensor, eos_token_id: int, tokens: int) -> list[Tensor]:
    """Texts from short to long, cut where a part's padded size would pass `tokens`."""
    lengths = (ids == eos_token_id).int().argmax(dim=1) + 1
    order = lengths.argsort(stable=True)
    sizes: Sequence[int] = lengths[order].tolist()
    parts, start = [], 0
    for end, size in enumerate(sizes):
        if end > start and (end + 1 - start) * size > tokens:
            parts.append(order[start:end])
            start = end
    return [*parts, order[start:]]


def _more(parts: list[Tensor], wanted: int) -> list[Tensor]:
    """The same texts in `wanted` parts: the largest are halved."""
    parts = list(parts)
    while len(parts) < wanted:
        largest = max(range(len(parts)), key=lambda i: len(parts[i]))
        half = len(parts[largest]) // 2
        parts[largest : largest + 1] = [parts[largest][:half], parts[largest][half:]]
    return parts
