"""One step: a batch through the towers, the loss of the whole batch, and back into the weights."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longclip.errors import TrainingError
from longclip.losses import Loss
from longclip.model import CLIP
from longclip.spec import BOS, EOT
from longclip.training.config import TrainConfig
from longclip.training.embedding import Embedding, Features
from longclip.training.objective import Teaching, share_of_loss, whole_batch
from longclip.training.optimizer import (
    FrozenRows,
    clamp_logit_scale,
    clip_gradient,
    make_optimizer,
    norm,
    set_lr,
)
from longclip.training.processes import World
from longclip.training.starting import (
    autocast,
    choose_what_learns,
    position_table,
)
from longclip.training.stream import Batch, crop
from longclip.training.teacher import Teacher
from longclip.training.towers import ParallelTowers, Towers


@dataclass(frozen=True)
class Taken:
    """What is told of a step.

    Attributes:
        loss: of the whole batch.
        parts: the losses it is the weighted sum of.
        gradient: norm of the gradient before clipping, where it was measured.
        update: norm of what the step changed, likewise.
    """

    loss: float
    parts: dict[str, float]
    gradient: float | None
    update: float | None


class Stepper:
    """A model that learns.

    Args:
        config: of the run.
        model: where it starts; what is not to learn is frozen here.
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

    def take(self, batch: Batch, counts: list[int], *, step: int, total: int, tell: bool) -> Taken:
        """Learn from one batch.

        Args:
            batch: this process's pairs; may be empty where those of others are not.
            counts: the pairs of all processes.
            step: steps done before.
            total: steps of the run.
            tell: also measure gradient and update.

        Raises:
            TrainingError: if embeddings are no longer finite.
        """
        set_lr(self.optimizer, step, total, self._config.warmup_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, counts, step)
        for scalar in self.towers.scalars():
            if scalar.grad is not None:
                scalar.grad = self._world.sum(scalar.grad) / self._world.size
        gradient, update = self._update(tell)
        names = list(loss.parts)
        summed = self._world.sum(torch.stack([loss.total, *loss.parts.values()]).detach())
        values = summed.tolist()
        return Taken(values[0], dict(zip(names, values[1:], strict=True)), gradient, update)

    def _gradients(self, batch: Batch, counts: list[int], step: int) -> Loss:
        config = self._config
        blank = not len(batch)
        if blank:
            batch = _blank(self.model, config)
        pixels = partial(self._pixels, batch)
        embedding = Embedding(
            self.towers,
            pixels,
            self._ids(batch),
            count=len(batch),
            micro_batch=config.micro_batch,
            autocast=self._autocast,
            world=self._world,
        )
        features = embedding.features()
        if blank:
            features = _without_rows(features)
        whole = whole_batch(features, config, counts, self._world)
        _check_finite(step, whole.images, whole.short, whole.long)
        teaching = None
        if self._teacher is not None:
            teaching = self._teach(batch, counts, blank)
        start = sum(counts[: self._world.rank])
        rows = slice(start, start + counts[self._world.rank]) if self._world.size > 1 else None
        loss = share_of_loss(whole, config, rows, teaching)
        loss.total.backward()  # type: ignore[no-untyped-call]
        embedding.backward()
        return loss

    def _update(self, tell: bool) -> tuple[float | None, float | None]:
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self._frozen_rows:
            self._frozen_rows.mask_gradient()
        gradient = update = None
        most = self._config.clip_gradient
        if tell or most:
            gradient = norm(p.grad for p in learned if p.grad is not None)
        if most:
            assert gradient is not None
            clip_gradient(learned, gradient, most)
        before = [p.detach().clone() for p in learned] if tell else None
        self.optimizer.step()
        clamp_logit_scale(self.model.logit_scale)
        if before is not None:
            update = norm(old.sub_(new.detach()) for old, new in zip(before, learned, strict=True))
        return gradient, update

    def _pixels(self, batch: Batch, rows: slice) -> Tensor:
        """Normalised pixels of these rows, cut as their crops say."""
        device = self._world.device
        pixels = self.model.preprocess.normalize(_on(batch.pixels[rows], device))
        if self._config.crop_scale < 1:
            pixels = crop(pixels, _on(batch.crops[rows], device))
        return pixels

    def _ids(self, batch: Batch) -> Tensor:
        """Short and long texts in one tensor: they go through the tower in one stream."""
        texts = []
        if self._config.reads_short:
            texts.append(batch.short)
        if self._config.texts == "long":
            texts.append(batch.long)
        longest = max(ids.shape[1] for ids in texts)
        padded = [
            np.pad(ids, ((0, 0), (0, longest - ids.shape[1])), constant_values=EOT) for ids in texts
        ]
        # They stay on the host, where it is worked out how they are cut and packed.
        return torch.from_numpy(np.concatenate(padded))

    def _teach(self, batch: Batch, counts: list[int], blank: bool) -> Teaching:
        assert self._teacher is not None
        with self._autocast():
            return self._teacher.teach(
                lambda rows: self._pixels(batch, rows),
                torch.from_numpy(batch.plain),
                counts,
                positives=self._config.positives,
                blank=blank,
            )


def _on(array: NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _blank(model: CLIP, config: TrainConfig) -> Batch:
    """A black picture without words: a process whose pairs are all unusable goes along with it."""
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


def _without_rows(features: Features) -> Features:
    """None of the blank pair's rows; its gradient is then zero."""
    return replace(features, images=features.images[:0], texts=features.texts[:0])


def _check_finite(step: int, *features: Tensor | None) -> None:
    # A principal component analysis of what is no number would fail with less to say.
    finite = [f.detach().isfinite().all() for f in features if f is not None]
    if not bool(torch.stack(finite).all()):
        raise TrainingError(
            f"embeddings are no longer finite at step {step + 1}: training has diverged; "
            "start again with a lower --lr"
        )
