"""From a configuration and features to this process's share of the loss."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from longclip.objectives import Loss, distillation, info_nce, primary_components, sigmoid_loss
from longclip.training.config import TrainConfig
from longclip.training.embedding import Features
from longclip.training.gather import gather
from longclip.training.processes import World


@dataclass(frozen=True)
class Batched:
    """Normalised float32 features of the whole batch of B pairs; None for what is not read.

    Attributes:
        images: [B, D].
        short: [B·K, D], K texts for each image in turn.
        long: [B, D].
        logit_scale: scalar, the inverse temperature.
        logit_bias: scalar.
    """

    images: Tensor
    short: Tensor | None
    long: Tensor | None
    logit_scale: Tensor
    logit_bias: Tensor


@dataclass(frozen=True)
class Teaching:
    """What the frozen original makes of the whole batch: [B, D], [B·K, D], and its scale."""

    images: Tensor
    short: Tensor
    logit_scale: Tensor


def whole_batch(
    features: Features, config: TrainConfig, counts: Sequence[int], world: World
) -> Batched:
    """Gather features: texts are this process's short ones, then its long ones."""
    mine = counts[world.rank]
    short_rows = mine * config.positives if config.reads_short else 0
    texts = F.normalize(features.texts.float(), dim=-1)
    short, long = texts[:short_rows], texts[short_rows:]
    short_counts = [count * config.positives for count in counts]
    return Batched(
        images=gather(F.normalize(features.images.float(), dim=-1), counts, world),
        short=gather(short, short_counts, world) if config.reads_short else None,
        long=gather(long, counts, world) if config.texts == "long" else None,
        logit_scale=features.logit_scale,
        logit_bias=features.logit_bias,
    )


def share_of_loss(
    batch: Batched, config: TrainConfig, rows: slice | None, teaching: Teaching | None
) -> Loss:
    """The loss of `rows` of the batch (None: all); those of all processes add up to the whole."""
    parts: dict[str, Tensor] = {}
    weights: dict[str, float] = {}
    if batch.long is not None:
        parts["long"] = _softmax(
            batch.images, batch.long, batch, config, rows, margin=config.margin
        )
        weights["long"] = config.long_weight
    if config.texts == "short" or config.pcm:
        parts["short"] = _short_loss(batch, config, rows)
        weights["short"] = config.pcm_weight if config.pcm else 1.0
    if teaching is not None:
        assert batch.short is not None
        parts["distill"] = distillation(
            batch.images,
            batch.short,
            batch.logit_scale,
            teaching.images,
            teaching.short,
            teaching.logit_scale,
            rows=rows,
            chunk=config.logit_rows,
        )
        weights["distill"] = config.distill_weight
    total = sum(weights[name] * part for name, part in parts.items())
    assert not isinstance(total, int | float)
    return Loss(total, parts)


def _short_loss(batch: Batched, config: TrainConfig, rows: slice | None) -> Tensor:
    images = batch.images
    assert batch.short is not None
    if config.pcm:
        images = primary_components(images, config.pcm_components, groups=config.pcm_groups)
    if config.short_loss == "softmax":
        # Beside long texts the short ones are summaries, which many images may share; a margin
        # would drive apart what is alike.
        margin = 0.0 if batch.long is not None else config.margin
        return _softmax(images, batch.short, batch, config, rows, margin=margin)
    return sigmoid_loss(
        images,
        batch.short,
        batch.logit_scale,
        batch.logit_bias,
        rows=rows,
        chunk=config.logit_rows,
    )


def _softmax(
    images: Tensor,
    texts: Tensor,
    batch: Batched,
    config: TrainConfig,
    rows: slice | None,
    *,
    margin: float,
) -> Tensor:
    return info_nce(
        images,
        texts,
        batch.logit_scale,
        label_smoothing=config.label_smoothing,
        margin=margin,
        rows=rows,
        chunk=config.logit_rows,
    )
