"""Long-CLIP's training loss: details with the long text, the main thing with the short one."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from longclip.objectives.contrastive import info_nce
from longclip.objectives.pcm import COMPONENTS, primary_components


@dataclass(frozen=True)
class Loss:
    """A loss and the parts it is the sum of, as scalars."""

    total: Tensor
    parts: dict[str, Tensor]


def long_clip_loss(
    image_features: Tensor,
    long_features: Tensor,
    short_features: Tensor,
    logit_scale: Tensor,
    *,
    weight: float = 1.0,
    components: int = COMPONENTS,
    groups: int = 1,
    label_smoothing: float = 0.1,
) -> Loss:
    """InfoNCE(image, long) + weight · InfoNCE(coarse image, short).

    Long-CLIP (Zhang et al., ECCV 2024, section 3.3); weight 1 and smoothing 0.1 as published code.

    Args:
        image_features: [B, D], as the model gives them; they are normalised here.
        long_features: [B, D], likewise.
        short_features: [B, D], likewise.
        logit_scale: scalar, the inverse temperature.
        weight: of the short branch.
        components: principal directions of the coarse image feature.
        groups: see `primary_components`.
        label_smoothing: see `info_nce`.
    """
    images = F.normalize(image_features.float(), dim=-1)
    coarse = primary_components(images, components, groups=groups)
    long = F.normalize(long_features.float(), dim=-1)
    short = F.normalize(short_features.float(), dim=-1)
    parts = {
        "long": info_nce(images, long, logit_scale, label_smoothing=label_smoothing),
        "short": info_nce(coarse, short, logit_scale, label_smoothing=label_smoothing),
    }
    return Loss(parts["long"] + weight * parts["short"], parts)


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    *,
    name: str,
    label_smoothing: float = 0.0,
) -> Loss:
    """Plain CLIP: InfoNCE of the normalised features, under `name` in the parts."""
    images = F.normalize(image_features.float(), dim=-1)
    texts = F.normalize(text_features.float(), dim=-1)
    loss = info_nce(images, texts, logit_scale, label_smoothing=label_smoothing)
    return Loss(loss, {name: loss})
