"""Start of the bias of sigmoid losses for a model that was trained without one."""

from dataclasses import replace

import torch

from longclip.training.config import TrainConfig
from longclip.training.objectives import BatchFeatures, Objective, share_of

HALVINGS = 20
"""Of the interval that the bias lies in, which is then smaller than a thousandth."""


def balanced_bias(objective: Objective, batch: BatchFeatures, config: TrainConfig) -> float | None:
    """Return the bias, to a tenth, where the loss of a batch is least; None where it has no bias.

    A sigmoid loss asks of each pair whether s·cos + b is above 0. SigLIP's b = −10 is for s = 10
    and embeddings that know nothing yet. A CLIP trained with softmax has s = 100, and all its
    cosines lie in a narrow band somewhere above 0, of which a softmax sees the differences alone:
    with b = −10 nearly every pair counts as a match. The bias is one number with the learning rate
    of a weight and would take tens of thousands of steps to where it belongs; meanwhile the
    embeddings are torn apart in its stead.

    The loss is convex in the bias, so its slope is halved down to where it is 0: there the pairs
    taken for matches are as many as there are matches (in the sum over all sigmoid losses, by
    their weights).

    Args:
        objective: of the run.
        batch: features of the whole batch.
        config: of the run.
    """
    scale = batch.logit_scale.detach()
    features = replace(
        batch,
        images=batch.images.detach(),
        short=None if batch.short is None else batch.short.detach(),
        long=None if batch.long is None else batch.long.detach(),
        logit_scale=scale,
    )
    if len(batch.images) < 2:  # without negatives there is no least
        return None
    # Cosines lie between −1 and 1. Beyond ±s by so much every sigmoid is 0 or 1.
    low, high = -float(scale) - 30.0, float(scale) + 30.0
    for _ in range(HALVINGS):
        bias = torch.tensor((low + high) / 2, device=scale.device, requires_grad=True)
        total = share_of(objective, replace(features, logit_bias=bias), config, None).total
        if not total.requires_grad:
            return None
        [slope] = torch.autograd.grad(total, bias)
        if slope > 0:
            high = float(bias.detach())
        else:
            low = float(bias.detach())
    # At the least loss itself the first gradient of the bias would be rounding, of which AdamW
    # makes a step of the whole rate, one way or the other.
    return round((low + high) / 2, 1)
