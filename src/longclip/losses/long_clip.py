"""Long-CLIP's training loss: details with the long text, the main thing with the short one."""

from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F

from longclip.errors import UsageError
from longclip.losses.contrastive import info_nce, sigmoid_loss
from longclip.losses.pairs import at_least_float32
from longclip.losses.pcm import COMPONENTS, primary_components


@dataclass(frozen=True)
class Loss:
    """A loss and its parts before weighting, as scalars; with `rows`, shares of them."""

    total: Tensor
    parts: dict[str, Tensor]


def long_clip_loss(
    image_features: Tensor,
    long_features: Tensor | None,
    short_features: Tensor | None,
    logit_scale: Tensor,
    *,
    logit_bias: Tensor | None = None,
    long_logit_bias: Tensor | None = None,
    long_weight: float = 1.0,
    weight: float = 1.0,
    components: int | None = COMPONENTS,
    groups: int = 1,
    label_smoothing: float = 0.1,
    margin: float = 0.0,
    short_margin: float | None = None,
    normalize: bool = True,
    rows: slice | None = None,
    chunk: int = 0,
) -> Loss:
    """Return long_weight · InfoNCE(image, long) + weight · InfoNCE(coarse image, short).

    Long-CLIP (Zhang et al., ECCV 2024, section 3.3); both weights 1 and smoothing 0.1 as published
    code. The principal components are always those of all B images, whatever `rows`.

    A branch without texts is left out: with `components=None` and one kind of text this is plain
    CLIP.

    Args:
        image_features: [B, D], as the model gives them.
        long_features: [B, D], likewise; None for no long branch.
        short_features: [B·K, D], likewise; row j belongs to row j // K of `image_features`. None
            for no short branch.
        logit_scale: scalar, the inverse temperature.
        logit_bias: scalar; the short branch is then the sigmoid loss with this bias, which knows
            neither smoothing nor margin.
        long_logit_bias: of the long branch, likewise.
        long_weight: of the long branch.
        weight: of the short branch.
        components: principal directions of the coarse image feature, at least 1; None matches short
            texts with the image feature as it is.
        groups: see `primary_components`.
        label_smoothing: see `info_nce`.
        margin: of hard negatives, in both branches; see `info_nce`.
        short_margin: of the short branch, in place of `margin`.
        normalize: divide all features by their length first; switch it off for features that are
            normalised already, which a second division would change in the last bit.
        rows: return only the share of these images and their texts; see `info_nce`.
        chunk: rows of logits in memory at a time; see `info_nce`.

    Raises:
        ValueError: if there are no texts at all, not the same number of them for each image, or
            fewer than one component.
    """
    if long_features is None and short_features is None:
        raise UsageError("a loss needs texts: give long_features, short_features or both")

    def prepared(features: Tensor) -> Tensor:
        return F.normalize(at_least_float32(features), dim=-1) if normalize else features

    contrast = partial(
        info_nce,
        logit_scale=logit_scale,
        label_smoothing=label_smoothing,
        rows=rows,
        chunk=chunk,
    )
    judged = partial(sigmoid_loss, logit_scale=logit_scale, rows=rows, chunk=chunk)
    images = prepared(image_features)
    parts: dict[str, Tensor] = {}
    terms: list[Tensor] = []
    if long_features is not None:
        long = prepared(long_features)
        if long_logit_bias is None:
            parts["long"] = contrast(images, long, margin=margin)
        else:
            parts["long"] = judged(images, long, logit_bias=long_logit_bias)
        terms.append(long_weight * parts["long"])
    if short_features is not None:
        coarse = images
        if components is not None:
            # Not normalised again, as in the published code.
            coarse = primary_components(images, components, groups=groups)
        short = prepared(short_features)
        if logit_bias is None:
            margin = margin if short_margin is None else short_margin
            parts["short"] = contrast(coarse, short, margin=margin)
        else:
            parts["short"] = judged(coarse, short, logit_bias=logit_bias)
        terms.append(weight * parts["short"])
    return Loss(sum(terms[1:], start=terms[0]), parts)
