"""From a configuration and features to this process's share of the loss."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from longclip.losses import Loss, distillation, long_clip_loss
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
    """Gather features; texts are this process's short ones, then its long ones.

    They are normalised before they travel: a row's gradient is then summed over processes first and
    goes through the normalisation once.
    """
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
    """Return the loss of `rows` of the batch (None: all); all processes' shares add up to it."""
    # Distillation too reads short texts; without PCM they are not matched beside long ones.
    matched = config.texts == "short" or config.pcm
    loss = long_clip_loss(
        batch.images,
        batch.long,
        batch.short if matched else None,
        batch.logit_scale,
        logit_bias=batch.logit_bias if config.short_loss == "sigmoid" else None,
        long_weight=config.long_weight,
        weight=config.pcm_weight if config.pcm else 1.0,
        components=config.pcm_components if config.pcm else 0,
        groups=config.pcm_groups,
        label_smoothing=config.label_smoothing,
        margin=config.margin,
        # Beside long texts the short ones are summaries, which many images may share; a margin
        # would drive apart what is alike.
        short_margin=0.0 if batch.long is not None else config.margin,
        normalize=False,
        rows=rows,
        chunk=config.logit_rows,
    )
    if teaching is None:
        return loss
    assert batch.short is not None
    distilled = distillation(
        batch.images,
        batch.short,
        batch.logit_scale,
        teaching.images,
        teaching.short,
        teaching.logit_scale,
        rows=rows,
        chunk=config.logit_rows,
    )
    return Loss(
        loss.total + config.distill_weight * distilled, {**loss.parts, "distill": distilled}
    )
