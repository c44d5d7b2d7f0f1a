"""Long-CLIP's training loss: details with the long text, the main thing with the short one."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from longclip.objectives.contrastive import info_nce
from longclip.objectives.pcm import COMPONENTS, primary_components
from longclip.objectives.similarity import at_least_float32


@dataclass(frozen=True)
class Loss:
    """A loss and its parts before weighting, as scalars; with `rows`, shares of them."""

    total: Tensor
    parts: dict[str, Tensor]


def long_clip_loss(
    image_features: Tensor,
    long_features: Tensor,
    short_features: Tensor,
    logit_scale: Tensor,
    *,
    long_weight: float = 1.0,
    weight: float = 1.0,
    components: int = COMPONENTS,
    groups: int = 1,
    label_smoothing: float = 0.1,
    margin: float = 0.0,
    rows: slice | None = None,
    chunk: int = 0,
) -> Loss:
    """long_weight · InfoNCE(image, long) + weight · InfoNCE(coarse image, short).

    Long-CLIP (Zhang et al., ECCV 2024, section 3.3); both weights 1 and smoothing 0.1 as published
    code. The principal components are always those of all B images, whatever `rows`.

    Args:
        image_features: [B, D], as the model gives them; they are normalised here.
        long_features: [B, D], likewise.
        short_features: [B·K, D], likewise; row j belongs to row j // K of `image_features`.
        logit_scale: scalar, the inverse temperature.
        long_weight: of the long branch.
        weight: of the short branch.
        components: principal directions of the coarse image feature.
        groups: see `primary_components`.
        label_smoothing: see `info_nce`.
        margin: of hard negatives, in both branches; see `info_nce`.
        rows: return only the share of these images and their texts; see `info_nce`.
        chunk: rows of logits in memory at a time; see `info_nce`.
    """
    images = _normalized(image_features)
    coarse = primary_components(images, components, groups=groups)
    long, short = _normalized(long_features), _normalized(short_features)
    parts = {
        name: info_nce(
            pictures,
            texts,
            logit_scale,
            label_smoothing=label_smoothing,
            margin=margin,
            rows=rows,
            chunk=chunk,
        )
        for name, pictures, texts in (("long", images, long), ("short", coarse, short))
    }
    return Loss(long_weight * parts["long"] + weight * parts["short"], parts)


def contrastive_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    *,
    name: str,
    label_smoothing: float = 0.0,
    margin: float = 0.0,
    rows: slice | None = None,
    chunk: int = 0,
) -> Loss:
    """Plain CLIP: InfoNCE of the normalised features, under `name` in the parts.

    Shapes and options are those of `info_nce`.
    """
    loss = info_nce(
        _normalized(image_features),
        _normalized(text_features),
        logit_scale,
        label_smoothing=label_smoothing,
        margin=margin,
        rows=rows,
        chunk=chunk,
    )
    return Loss(loss, {name: loss})


def _normalized(features: Tensor) -> Tensor:
    return F.normalize(at_least_float32(features), dim=-1)
