"""The training loop."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longclip.data import Collection, Columns, join, open_collection
from longclip.model import CLIP, load, save
from longclip.model.architectures import architecture
from longclip.model.loading import place
from longclip.model.stretch import stretch
from longclip.objectives import Loss, contrastive_loss, long_clip_loss
from longclip.training.card import run_card
from longclip.training.config import TrainConfig
from longclip.training.memory import keep_freed_memory
from longclip.training.optimizer import (
    clamp_logit_scale,
    freeze_first_positions,
    make_optimizer,
    set_lr,
)
from longclip.training.plan import Plan, make_plan
from longclip.training.run_state import MODEL, RunDirectory
from longclip.training.stream import Batch, Pairs, PixelStore, TextLimits, batches, crop

OnStep = Callable[[int, int, str], None]
"""Called after each step with (steps done, steps in all, a few words on how it goes)."""


class TrainingError(RuntimeError):
    """A run that had to stop; what it had done is kept in its directory."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished run leaves."""

    model: Path
    steps: int
    seconds: float
    pairs_per_second: float
    bad: tuple[str, ...]


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    store: PixelStore | None = None,
    on_step: OnStep | None = None,
) -> TrainResult:
    """Run a recipe; the trained model is in `config.out / "model"` afterwards.

    Args:
        config: everything the run depends on.
        resume: continue the run in `config.out` from its last checkpoint; the result is bit for
            bit that of an uninterrupted run on the same machine.
        store: pictures that are decoded already, in place of opening `config.data`.
        on_step: told about every step.

    Raises:
        ValueError: if the configuration, the model or the data do not fit together.
        FileExistsError: if `config.out` holds a run and `resume` is not set.
        TrainingError: if too many pictures cannot be read or the loss is no longer a number.
    """
    run = RunDirectory(config.out)
    # The initial weights come first: a configuration that cannot work must not leave a run behind.
    model = _initial_model(config)
    if model.device.type == "cpu":
        keep_freed_memory()
    if store is None:
        store = PixelStore(_open(config), model.preprocess, config.cache_gb)
    plan = _plan(config, store.collection)
    state = None
    if resume:
        state = run.resume(config)
    else:
        run.start(config)
    trainer = _Trainer(config, model, plan, run)
    if state is not None:
        trainer.restore(state)
    pairs = Pairs(
        store,
        limits=_limits(config, model),
        crop_scale=config.crop_scale,
        seed=config.seed,
        join_short=config.join_short,
    )
    return trainer.run(pairs, on_step)


class _Trainer:
    """The state of a run: model, optimiser, where it stands, what it has left out."""

    def __init__(self, config: TrainConfig, model: CLIP, plan: Plan, run: RunDirectory) -> None:
        self.config = config
        self.model = model.train()
        self.model.activation_checkpointing(config.activation_checkpointing)
        self.plan = plan
        self.directory = run
        self.optimizer = make_optimizer(model, config)
        self.autocast = autocast(config)
        freeze_first_positions(model, config.keep if _keeps_rows(config) else 0)
        self.step = 0
        self.seconds = 0.0
        self.pairs = 0
        self.bad: dict[str, None] = {}

    def run(self, pairs: Pairs, on_step: OnStep | None) -> TrainResult:
        config, total = self.config, self.plan.total_steps
        stream = batches(pairs, self.plan, first_step=self.step, workers=config.workers)
        began, waited = time.perf_counter(), 0.0
        while self.step < total:
            asked = time.perf_counter()
            batch = next(stream)
            waited += time.perf_counter() - asked
            self._note_bad(batch)
            loss = self._train_step(batch) if len(batch.pixels) else None
            self.step += 1
            if loss is None:
                continue
            now = time.perf_counter()
            self.seconds += now - began
            began = now
            if self.step % config.log_every == 0 or self.step == total:
                self._log(loss, waited)
                waited = 0.0
            if on_step:
                on_step(self.step, total, f"loss {loss.total.item():.3f}")
            if self.step % config.checkpoint_every == 0 and self.step < total:
                self.directory.write_checkpoint(self._state())
        return self._finish()

    def _train_step(self, batch: Batch) -> Loss:
        set_lr(self.optimizer, self.step, self.plan.total_steps, self.config.warmup_steps)
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            images, short, long = self._features(batch)
        # A principal component analysis of what is no number would fail with less to say.
        if not all(bool(f.isfinite().all()) for f in (images, short, long) if f is not None):
            raise TrainingError(
                f"embeddings are no longer finite at step {self.step + 1}: training has diverged; "
                "start again with a lower --lr"
            )
        loss = self._loss(images, short, long)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        clamp_logit_scale(self.model)
        self.pairs += len(batch.pixels)
        return loss

    def _features(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Image, short-text and long-text features [B, D]; None for texts the loss leaves out."""
        config, model = self.config, self.model
        pixels = model.preprocess.normalize(torch.from_numpy(batch.pixels).to(config.device))
        if config.crop_scale < 1:
            pixels = crop(pixels, torch.from_numpy(batch.crops).to(config.device))
        images = model.image_features(pixels)
        short_ids, long_ids = torch.from_numpy(batch.short), torch.from_numpy(batch.long)
        short = model.text_features(short_ids) if config.texts == "short" or config.pcm else None
        long = model.text_features(long_ids) if config.texts == "long" else None
        return images, short, long

    def _loss(self, images: Tensor, short: Tensor | None, long: Tensor | None) -> Loss:
        config, scale = self.config, self.model.logit_scale.exp()
        smoothing = config.label_smoothing
        if long is None:
            assert short is not None
            return contrastive_loss(images, short, scale, name="short", label_smoothing=smoothing)
        if not config.pcm:
            return contrastive_loss(images, long, scale, name="long", label_smoothing=smoothing)
        assert short is not None
        return long_clip_loss(
            images,
            long,
            short,
            scale,
            weight=config.pcm_weight,
            components=config.pcm_components,
            groups=config.pcm_groups,
            label_smoothing=smoothing,
        )

    def _note_bad(self, batch: Batch) -> None:
        self.bad |= dict.fromkeys(batch.bad)
        most = self.config.max_bad_fraction * self.plan.items
        if len(self.bad) > most:
            listed = "\n  ".join(list(self.bad)[:10])
            raise TrainingError(
                f"{len(self.bad)} items cannot be used, more than --max-bad-fraction "
                f"{self.config.max_bad_fraction} of {self.plan.items}:\n  {listed}"
            )

    def _log(self, loss: Loss, waited: float) -> None:
        self.directory.log(
            {
                "step": self.step,
                "loss": loss.total.item(),
                **{f"loss_{name}": part.item() for name, part in loss.parts.items()},
                "lr": self.optimizer.param_groups[0]["lr"],
                "logit_scale": self.model.logit_scale.exp().item(),
                "pairs": self.pairs,
                "seconds": round(self.seconds, 3),
                "data_wait_seconds": round(waited, 3),
                "bad": len(self.bad),
            }
        )

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seconds": self.seconds,
            "pairs": self.pairs,
            "bad": list(self.bad),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seconds, self.pairs = float(state["seconds"]), int(state["pairs"])
        self.bad = dict.fromkeys(state["bad"])

    def _finish(self) -> TrainResult:
        # The checkpoint stays, so that resuming a finished run finds nothing left to do.
        self.directory.write_checkpoint(self._state())
        path = self.directory.path / MODEL
        card = run_card(self.config, steps=self.step, bad=len(self.bad))
        save(self.model.eval(), path, card=card)
        rate = self.pairs / self.seconds if self.seconds else 0.0
        return TrainResult(path, self.step, self.seconds, rate, tuple(self.bad))


def _initial_model(config: TrainConfig) -> CLIP:
    torch.manual_seed(config.seed)
    model = CLIP(architecture(config.scratch)) if config.scratch else load(config.model)
    if not model.config.whole:
        raise ValueError(
            f"{config.model} is one tower of a CLIP alone; training matches images with texts and "
            "takes both"
        )
    if config.stretch != "none":
        model = stretch(model, config.context_length, config.keep, config.stretch)
    if config.logit_scale:
        with torch.no_grad():
            model.logit_scale.fill_(torch.tensor(config.logit_scale).log())
    return place(model, config.device)


def _open(config: TrainConfig) -> Collection:
    columns = Columns(
        image=config.image_column or None,
        short=config.short_column or None,
        long=config.long_column or None,
    )
    return join([open_collection(name, columns=columns) for name in config.data])


def _plan(config: TrainConfig, collection: Collection) -> Plan:
    items = min(len(collection), config.limit) if config.limit else len(collection)
    return make_plan(
        items=items,
        batch_size=config.batch_size,
        epochs=config.epochs,
        steps=config.steps,
        seed=config.seed,
    )


def _keeps_rows(config: TrainConfig) -> bool:
    return config.stretch == "knowledge-preserved"


def _limits(config: TrainConfig, model: CLIP) -> TextLimits:
    return TextLimits(short=min(77, model.context_length), long=model.context_length)


def autocast(config: TrainConfig) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic where it is asked for, or "auto" finds hardware for it."""
    device = torch.device(config.device).type
    wanted = config.precision == "bfloat16" or (
        config.precision == "auto" and _fast_bfloat16(device)
    )
    return torch.autocast(device, torch.bfloat16) if wanted else nullcontext()


def _fast_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device != "cpu":
        return False
    # Older torch versions do not tell; float32 is right on every machine.
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
