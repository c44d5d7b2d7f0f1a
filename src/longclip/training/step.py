"""One step: a batch through the towers, the loss of the whole batch, and back into the weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from longclip.errors import TrainingError
from longclip.losses import Loss, distillation, long_clip_loss
from longclip.model import CLIP
from longclip.spec import BOS, EOT
from longclip.training.config import TrainConfig
from longclip.training.data import Batch, crop
from longclip.training.distributed import World, gather
from longclip.training.forward import Features, GradientCache, ParallelTowers, Towers, autocast
from longclip.training.optimizer import (
    FrozenRows,
    clamp_logit_scale,
    clip_gradient,
    make_optimizer,
    norm,
    set_lr,
)
from longclip.training.setup import choose_what_learns, position_table
from longclip.training.teacher import Teacher, TeacherFeatures


@dataclass(frozen=True)
class StepResult:
    """Measurements of a step.

    Attributes:
        loss: of the whole batch.
        parts: the losses it is the weighted sum of.
        gradient_norm: of the gradient before clipping, where it was measured.
        update_norm: of what the step changed, likewise.
    """

    loss: float
    parts: dict[str, float]
    gradient_norm: float | None
    update_norm: float | None


class Stepper:
    """A model in training and its optimiser.

    Args:
        config: of the run.
        model: where it starts; parameters that are not to learn are frozen here.
        original: the model to distil from, or None.
        world: the processes; each holds a Stepper.
    """

    def __init__(
        self, config: TrainConfig, model: CLIP, original: CLIP | None, world: World
    ) -> None:
        self._config, self._world = config, world
        self.model = model.train()
        choose_what_learns(model, config)
        model.activation_checkpointing(config.activation_checkpointing)
        towers = Towers(model, lockstep=world.size > 1 and config.parallel == "fsdp")
        towers.logit_bias.requires_grad_(config.short_loss == "sigmoid")
        self.towers = ParallelTowers(towers, world, config.parallel)
        self.optimizer = make_optimizer(towers, config)
        self._autocast = partial(autocast, config, world.device)
        self._teacher = Teacher(original, world) if original is not None else None
        kept = config.keep if config.stretch == "knowledge-preserved" else 0
        self._frozen_rows = FrozenRows(position_table(model), kept) if kept else None

    def train_step(
        self, batch: Batch, counts: list[int], *, step: int, total: int, measure: bool
    ) -> StepResult:
        """Learn from one batch.

        Args:
            batch: this process's pairs; may be empty where those of others are not.
            counts: the pairs of all processes.
            step: steps done before.
            total: steps of the run.
            measure: also measure the norms of gradient and update.

        Raises:
            TrainingError: if embeddings are no longer finite.
        """
        set_lr(self.optimizer, step, total, self._config.warmup_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, counts, step)
        for scalar in self.towers.unsharded_scalars():
            if scalar.grad is not None:
                scalar.grad = self._world.sum(scalar.grad) / self._world.size
        gradient, update = self._update(measure)
        names = list(loss.parts)
        summed = self._world.sum(torch.stack([loss.total, *loss.parts.values()]).detach())
        values = summed.tolist()
        return StepResult(values[0], dict(zip(names, values[1:], strict=True)), gradient, update)

    def _gradients(self, batch: Batch, counts: list[int], step: int) -> Loss:
        config = self._config
        blank = not len(batch)
        if blank:
            batch = _blank(self.model, config)
        pixels = partial(self._pixels, batch)
        cache = GradientCache(
            self.towers,
            pixels,
            self._ids(batch),
            count=len(batch),
            micro_batch=config.micro_batch,
            autocast=self._autocast,
            world=self._world,
        )
        features = cache.features()
        if blank:
            # None of its rows reach the loss, so that its gradient is zero.
            features = replace(features, images=features.images[:0], texts=features.texts[:0])
        whole = gather_features(features, config, counts, self._world)
        _check_finite(step, whole.images, whole.short, whole.long)
        taught = None
        if self._teacher is not None:
            with self._autocast():
                taught = self._teacher.features(
                    pixels,
                    torch.from_numpy(batch.plain),
                    counts,
                    positives=config.positives,
                    blank=blank,
                )
        # Each process has the loss of its own rows against all; the shares add up to the whole.
        start = sum(counts[: self._world.rank])
        rows = slice(start, start + counts[self._world.rank]) if self._world.size > 1 else None
        loss = loss_share(whole, config, rows, taught)
        loss.total.backward()  # type: ignore[no-untyped-call]
        cache.backward()
        return loss

    def _update(self, measure: bool) -> tuple[float | None, float | None]:
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self._frozen_rows:
            self._frozen_rows.mask_gradient()
        gradient = update = None
        limit = self._config.clip_gradient
        if measure or limit:
            gradient = norm(p.grad for p in learned if p.grad is not None)
        if limit:
            assert gradient is not None
            clip_gradient(learned, gradient, limit)
        before = [p.detach().clone() for p in learned] if measure else None
        self.optimizer.step()
        clamp_logit_scale(self.model.logit_scale)
        if before is not None:
            update = norm(old.sub_(new.detach()) for old, new in zip(before, learned, strict=True))
        return gradient, update

    def _pixels(self, batch: Batch, rows: slice) -> Tensor:
        """Return normalised pixels of these rows, cropped, [n, 3, H, W]."""
        device = self._world.device
        pixels = self.model.preprocess.normalize(_on(batch.pixels[rows], device))
        if self._config.crop_scale < 1:
            pixels = crop(pixels, _on(batch.crops[rows], device))
        return pixels

    def _ids(self, batch: Batch) -> Tensor:
        """Return short and long texts in one int64 tensor: the tower reads them together."""
        texts = []
        if self._config.reads_short:
            texts.append(batch.short)
        if self._config.texts == "long":
            texts.append(batch.long)
        longest = max(ids.shape[1] for ids in texts)
        padded = [
            np.pad(ids, ((0, 0), (0, longest - ids.shape[1])), constant_values=EOT) for ids in texts
        ]
        # Ids stay on the host, where it is worked out how they are cut and packed.
        return torch.from_numpy(np.concatenate(padded))


def _on(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _blank(model: CLIP, config: TrainConfig) -> Batch:
    """Return a black picture without words.

    A process whose pairs are all unusable computes it to join the others' collectives.
    """
    size = model.preprocess.image_size
    words = np.array([[BOS, EOT]], np.int64)
    return Batch(
        pixels=np.zeros((1, 3, size, size), np.uint8),
        short=words.repeat(config.positives, axis=0),
        plain=words.repeat(config.positives, axis=0),
        long=words,
        crops=np.array([[1, 0, 0]], np.float32),
        bad=(),
    )


def _check_finite(step: int, *features: Tensor | None) -> None:
    # A principal component analysis of what is no number would fail with less to say.
    finite = [f.detach().isfinite().all() for f in features if f is not None]
    if not bool(torch.stack(finite).all()):
        raise TrainingError(
            f"embeddings are no longer finite at step {step + 1}: training has diverged; "
            "start again with a lower --lr"
        )


@dataclass(frozen=True)
class BatchFeatures:
    """Normalised float32 features of the whole batch of B pairs; None for texts that are not read.

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


def gather_features(
    features: Features, config: TrainConfig, counts: Sequence[int], world: World
) -> BatchFeatures:
    """Gather features; texts are this process's short ones, then its long ones.

    They are normalised before they travel: a row's gradient is then summed over processes first and
    goes through the normalisation once.
    """
    mine = counts[world.rank]
    short_rows = mine * config.positives if config.reads_short else 0
    texts = F.normalize(features.texts.float(), dim=-1)
    short, long = texts[:short_rows], texts[short_rows:]
    short_counts = [count * config.positives for count in counts]
    return BatchFeatures(
        images=gather(F.normalize(features.images.float(), dim=-1), counts, world),
        short=gather(short, short_counts, world) if config.reads_short else None,
        long=gather(long, counts, world) if config.texts == "long" else None,
        logit_scale=features.logit_scale,
        logit_bias=features.logit_bias,
    )


def loss_share(
    batch: BatchFeatures, config: TrainConfig, rows: slice | None, taught: TeacherFeatures | None
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
        components=config.pcm_components if config.pcm else None,
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
    if taught is None:
        return loss
    assert batch.short is not None
    distilled = distillation(
        batch.images,
        batch.short,
        batch.logit_scale,
        taught.images,
        taught.short,
        taught.logit_scale,
        rows=rows,
        chunk=config.logit_rows,
    )
    return Loss(
        loss.total + config.distill_weight * distilled, {**loss.parts, "distill": distilled}
    )
