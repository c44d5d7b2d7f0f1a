"""One step: a batch through the towers, the loss of the whole batch, and back into the weights."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from longclip.errors import TrainingError
from longclip.image.preprocess import Preprocess
from longclip.losses import Loss, distillation
from longclip.model import CLIP
from longclip.model.clip import INITIAL_LOGIT_BIAS
from longclip.training.config import TrainConfig
from longclip.training.data import Batch, crop
from longclip.training.distributed import World, gather
from longclip.training.forward import Features, GradientCache, ParallelTowers, Towers, autocast
from longclip.training.logit_bias import balanced_bias
from longclip.training.objectives import BatchFeatures, Objective, share_of
from longclip.training.optimizer import (
    MAX_LOG_SCALE,
    FrozenRows,
    make_optimizer,
    norm,
)
from longclip.training.run.checkpoint import training_tensors
from longclip.training.run.model import choose_what_learns, position_table
from longclip.training.schedule import set_lr
from longclip.training.teachers import Teacher
from longclip.training.weight_average import WeightAverage


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
        objective: what is to be made small.
        world: the processes; each holds a Stepper.
        long_teacher: the model whose similarities of long texts are taken over, or None.

    Raises:
        ValueError: if nothing learns, or the model is too narrow for low-rank changes.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: CLIP,
        original: CLIP | None,
        objective: Objective,
        world: World,
        long_teacher: CLIP | None = None,
    ) -> None:
        config = config.with_losses_of(logit_bias=model.config.logit_bias)
        self._config, self._objective, self._world = config, objective, world
        model.prepare_images()  # what another library computes is no parameter before
        self.model = model.train()
        choose_what_learns(model, config)
        model.activation_checkpointing(config.activation_checkpointing)
        towers = Towers(model, lockstep=world.size > 1 and config.parallel == "fsdp")
        if "sigmoid" not in (config.long_loss, config.short_loss):
            towers.bias.requires_grad_(False)
        # A bias of the model's own has been trained with it.
        self._bias_unknown = towers.bias.requires_grad and towers.logit_bias is not None
        # In this order: sharding replaces the parameters that the optimiser is to hold.
        self.towers = ParallelTowers(towers, world, config.parallel)
        self.optimizer = make_optimizer(towers, config)
        averages = config.ema_decay or config.swa_share
        self._average = WeightAverage(towers, config) if averages else None
        self.autocast = partial(autocast, config, world.device)
        self._teacher = Teacher(original, world) if original is not None else None
        self._long_teacher = Teacher(long_teacher, world) if long_teacher is not None else None
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
        # FSDP reduces the gradients of what it shards only.
        for scalar in self.towers.unsharded_scalars():
            if scalar.grad is not None:
                scalar.grad = self._world.sum(scalar.grad) / self._world.size
        gradient, update = self._update(measure)
        if self._average:
            self._average.update(step, total)
        # All values in one collective and one copy from the device, each of which is a wait.
        summed = self._world.sum(torch.stack([loss.total, *loss.parts.values()]).detach())
        total_loss, *parts = summed.tolist()
        return StepResult(total_loss, dict(zip(loss.parts, parts, strict=True)), gradient, update)

    def result(self) -> AbstractContextManager[None]:
        """Return a context in which the towers are what the run would end with now."""
        return self._average.in_place() if self._average else nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        """Return all that learning has made, by name, to be saved or filled."""
        averaged = self._average.tensors() if self._average else {}
        return training_tensors(self.towers.towers, self.optimizer) | averaged

    def _gradients(self, batch: Batch, counts: list[int], step: int) -> Loss:
        """Fill in the gradients of all weights, and return this process's share of the loss."""
        config = self._config
        # A process whose pairs are all unusable must join the others' collectives all the same.
        blank = not len(batch)
        if blank:
            batch = _blank(self.model, config)
        pixels = partial(self._pixels, batch, self.model.preprocess)
        texts = [batch.short] if config.reads_short else []
        if config.texts == "long":
            texts.append(batch.long)
        # Short and long texts go through the tower together, padded to one length.
        longest = max(ids.shape[1] for ids in texts)
        pad = batch.pad_token_id
        padded = [
            np.pad(ids, ((0, 0), (0, longest - ids.shape[1])), constant_values=pad) for ids in texts
        ]
        cache = GradientCache(
            self.towers,
            pixels,
            # Ids stay on the host, where it is worked out how they are cut and packed.
            torch.from_numpy(np.concatenate(padded)),
            count=len(batch),
            micro_batch=config.micro_batch,
            autocast=self.autocast,
        )
        features = cache.features()
        if blank:
            # None of its rows reach the loss, so that its gradient is zero.
            features = replace(features, images=features.images[:0], texts=features.texts[:0])
        whole = gather_features(features, config, counts, self._world)
        # A principal component analysis of what is no number would fail with less to say.
        read = [f for f in (whole.images, whole.short, whole.long) if f is not None]
        if not bool(torch.stack([f.detach().isfinite().all() for f in read]).all()):
            raise TrainingError(
                f"embeddings are no longer finite at step {step + 1}: training has diverged; "
                "start again with a lower --lr"
            )
        if self._bias_unknown:
            self._start_bias(whole)
        lessons = []
        if self._teacher is not None:
            assert whole.short is not None
            taught = self._taught(self._teacher, batch, batch.plain, counts, blank=blank)
            lessons.append(Lesson("distill", config.distill_weight, whole.short, *taught))
        if self._long_teacher is not None:
            assert whole.long is not None
            taught = self._taught(self._long_teacher, batch, batch.long, counts, blank=blank)
            lessons.append(Lesson("distill_long", config.long_distill_weight, whole.long, *taught))
        # Each process has the loss of its own rows against all; the shares add up to the whole.
        start = sum(counts[: self._world.rank])
        rows = slice(start, start + counts[self._world.rank]) if self._world.size > 1 else None
        loss = loss_share(self._objective, whole, config, rows, lessons)
        loss.total.backward()  # type: ignore[no-untyped-call]
        cache.backward()
        return loss

    def _taught(
        self,
        teacher: Teacher,
        batch: Batch,
        ids: NDArray[np.int64],
        counts: list[int],
        *,
        blank: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what a teacher makes of the pictures and these texts of the whole batch."""
        with self.autocast():
            return teacher.features(
                partial(self._pixels, batch, teacher.preprocess),
                torch.from_numpy(ids),
                counts,
                texts_per_image=len(ids) // len(batch),
                blank=blank,
            )

    def _start_bias(self, whole: BatchFeatures) -> None:
        """Set the bias of sigmoid losses by the first batch of a run, in its features too."""
        bias = self.towers.towers.bias
        if float(bias.detach()) == INITIAL_LOGIT_BIAS:  # that of a run that is resumed is another
            found = balanced_bias(self._objective, whole, self._config)
            if found is None:
                return
            # Rounding may differ in processes on different machines, and all must have one value.
            found = self._world.gather_objects(found)[0]
            assert whole.logit_bias is not None
            with torch.no_grad():
                bias.fill_(found)
                whole.logit_bias.fill_(found)
        self._bias_unknown = False

    @torch.no_grad()
    def _update(self, measure: bool) -> tuple[float | None, float | None]:
        """Make the optimiser's step; return the norms of gradient and update where measured."""
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self._frozen_rows:
            self._frozen_rows.mask_gradient()
        gradient = update = None
        limit = self._config.clip_gradient
        # Norms are waited for and the update's needs a copy of all weights: not in every step.
        if measure or limit:
            gradient = norm(p.grad for p in learned if p.grad is not None)
        if limit and gradient is not None and gradient > limit:
            for parameter in learned:
                if parameter.grad is not None:
                    parameter.grad.mul_(limit / gradient)
        before = [p.clone() for p in learned] if measure else None
        self.optimizer.step()
        # One that is frozen stays what it is; SigLIP's knows no bound, and ends beyond CLIP's.
        if self.model.logit_scale.requires_grad and not self.model.config.logit_bias:
            self.model.logit_scale.clamp_(max=MAX_LOG_SCALE)
        if before is not None:
            update = norm(old.sub_(new) for old, new in zip(before, learned, strict=True))
        return gradient, update

    def _pixels(self, batch: Batch, preprocess: Preprocess, rows: slice) -> Tensor:
        """Return normalised pixels of these rows, cropped, [n, 3, H, W]."""
        device = self._world.device
        pixels = preprocess.normalize(_on(batch.pixels[rows], device))
        if self._config.crop_scale < 1:
            pixels = crop(pixels, _on(batch.crops[rows], device))
        return pixels


def _on(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return the array on the device; a GPU need not be waited for."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _blank(model: CLIP, config: TrainConfig) -> Batch:
    """Return a black picture without words."""
    size = model.preprocess.image_size
    words = model.token_ids("").numpy()
    return Batch(
        pixels=np.zeros((1, 3, size, size), np.uint8),
        short=words.repeat(config.positives, axis=0),
        plain=words.repeat(config.positives, axis=0),
        long=words,
        crops=np.array([[1, 0, 0]], np.float32),
        bad=(),
        pad_token_id=model.pad_token_id,
    )


def gather_features(
    features: Features, config: TrainConfig, counts: Sequence[int], world: World
) -> BatchFeatures:
    """Gather the features of all processes.

    Args:
        features: of this process; texts are its short ones, then its long ones.
        config: of the run.
        counts: the pairs of all processes.
        world: the processes.
    """
    mine = counts[world.rank]
    short_rows = mine * config.positives if config.reads_short else 0
    # Normalised before they travel: a row's gradient is then summed over processes first and goes
    # through the normalisation once.
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


@dataclass(frozen=True)
class Lesson:
    """What a teacher makes of a batch, beside the student's texts.

    Attributes:
        name: of the part of the loss.
        weight: of it.
        texts: [B·K, D] of the student.
        seen_images: [B, E] of the teacher.
        seen_texts: [B·K, E], likewise.
        seen_scale: its inverse temperature.
    """

    name: str
    weight: float
    texts: Tensor
    seen_images: Tensor
    seen_texts: Tensor
    seen_scale: Tensor


def loss_share(
    objective: Objective,
    batch: BatchFeatures,
    config: TrainConfig,
    rows: slice | None,
    lessons: Sequence[Lesson],
) -> Loss:
    """Return the loss of `rows` of the batch (None: all); all processes' shares add up to it."""
    loss = share_of(objective, batch, config, rows)
    for lesson in lessons:
        distilled = distillation(
            batch.images,
            lesson.texts,
            batch.logit_scale,
            lesson.seen_images,
            lesson.seen_texts,
            lesson.seen_scale,
            rows=rows,
            chunk=config.logit_rows,
        )
        loss = Loss(loss.total + lesson.weight * distilled, {**loss.parts, lesson.name: distilled})
    return loss
