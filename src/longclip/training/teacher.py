"""The frozen original, whose short-text similarities are kept while long texts are learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from longclip.model import CLIP
from longclip.training.distributed import World, gather

_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class TeacherFeatures:
    """Normalised float32 features that the frozen original has of the whole batch of B pairs.

    Attributes:
        images: [B, D].
        short: [B·K, D], K short texts for each image in turn.
        logit_scale: scalar, its inverse temperature.
    """

    images: Tensor
    short: Tensor
    logit_scale: Tensor


class Teacher:
    """A frozen CLIP that distillation compares with.

    Args:
        model: with as many tokens as it has; texts are cut to that.
        world: the processes.
    """

    def __init__(self, model: CLIP, world: World) -> None:
        self._model = model.eval().requires_grad_(False)
        self._world = world

    @torch.no_grad()
    def features(
        self,
        pixels: Callable[[slice], Tensor],
        ids: Tensor,
        counts: Sequence[int],
        *,
        positives: int,
        blank: bool,
    ) -> TeacherFeatures:
        """Return features of the whole batch, from this process's pictures and short texts.

        Args:
            pixels: returns normalised pixels [n, 3, H, W] of a slice of this process's pictures.
            ids: int64 [N·K, L].
            counts: N of each process.
            positives: K.
            blank: this process has no pairs, and `pixels` and `ids` mean nothing.
        """
        model, mine = self._model, counts[self._world.rank]
        if blank:
            images = texts = torch.zeros(0, model.embedding_dim, device=model.device)
        else:
            parts = [
                slice(i, min(i + _IMAGES_AT_ONCE, mine)) for i in range(0, mine, _IMAGES_AT_ONCE)
            ]
            images = torch.cat([model.image_features(pixels(part)) for part in parts])
            texts = model.text_features(_cut(ids, model.context_length))
        text_counts = [count * positives for count in counts]
        return TeacherFeatures(
            images=gather(F.normalize(images.float(), dim=-1), counts, self._world),
            short=gather(F.normalize(texts.float(), dim=-1), text_counts, self._world),
            logit_scale=model.logit_scale.exp(),
        )


def _cut(ids: Tensor, limit: int) -> Tensor:
    """Return ids [M, L] with texts cut to `limit` tokens, the last again an end of text."""
    if ids.shape[1] <= limit:
        return ids
    eot = ids[:, -1:]  # every row ends or is padded with it
    return torch.cat([ids[:, : limit - 1], eot], dim=1)
