"""The steps of a run, and what lies between them: checkpoints, metrics, measurements, signals."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from longclip.checkpoints.hub import README
from longclip.data.summary import DataSummary
from longclip.errors import Preempted, TrainingError, UsageError
from longclip.model import CLIP, load, save
from longclip.runs.run_files import METRICS, MODEL, last_checkpoint, read_metrics
from longclip.training.config import TrainConfig
from longclip.training.data import (
    Batch,
    Pairs,
    batches,
)
from longclip.training.distributed import World
from longclip.training.forward import autocast
from longclip.training.mining import Mining, OnTexts
from longclip.training.plan import Plan
from longclip.training.process import StopRequest, peak_memory
from longclip.training.run.best_model import Best, BestModel
from longclip.training.run.checkpoint import CheckpointWarning, RunCheckpoints
from longclip.training.run.directory import RunDirectory
from longclip.training.run.log import Clock, Trackers
from longclip.training.run.model import (
    check_finite,
    whole_model,
    write_card,
    write_model,
)
from longclip.training.step import Stepper, StepResult

OnStep = Callable[[int, int, str], None]
"""Called after each step with (steps done, steps in all, a few words on loss and pace)."""

Evaluate = Callable[[CLIP], dict[str, float]]
"""Measures a model and returns values by name."""


@dataclass(frozen=True)
class TrainResult:
    """Result of a finished run.

    Attributes:
        model: directory of the trained model.
        steps: that were made, before a resume too.
        seconds: they took.
        pairs_per_second: on average over all steps.
        bad: what was wrong with items that were left out.
        before: what was measured before the first step, by name; empty where nothing was.
        after: the same of the finished model.
        kept: the step whose model that is: the last, or with `keep_best` the best.
        data: what each source was taken for, in the first process.
    """

    model: Path
    steps: int
    seconds: float
    pairs_per_second: float
    bad: tuple[str, ...]
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    kept: int = 0
    data: tuple[DataSummary, ...] = ()


@dataclass
class Trainer:
    """Maker of a run's steps, who logs and measures, and writes checkpoints and the model."""

    config: TrainConfig
    world: World
    stepper: Stepper
    plan: Plan
    directory: RunDirectory
    checkpoints: RunCheckpoints
    trackers: Trackers
    evaluate: Evaluate | None
    stop: StopRequest
    mining: Mining | None = None
    clock: Clock = field(default_factory=Clock)
    step: int = 0
    saved: int = 0  # step of the last checkpoint
    seconds: float = 0.0
    pairs: int = 0
    # A dictionary for a set: in the order in which items were met, which is to be the same again.
    bad: dict[str, None] = field(default_factory=dict)
    best: Best | None = None  # so far, known to the first process
    resumed: bool = False  # and has made no step since

    def restore(self) -> None:
        """Continue from the last checkpoint, or from the beginning where there is none."""
        self.resumed = True
        progress = self.checkpoints.load(self._tensors())
        if progress is not None:
            self.step = self.saved = int(progress["step"])
            self.seconds, self.pairs = float(progress["seconds"]), int(progress["pairs"])
            self.bad = dict.fromkeys(progress["bad"])
        # Steps after the checkpoint are made again, and their lines written again.
        if self.world.first:
            self.directory.cut_metrics(self.step)
            self.best = self._best().load_until(self.step)
        self.world.wait()

    def finish_steps(
        self, pairs: Pairs, on_step: OnStep | None, on_texts: OnTexts | None = None
    ) -> TrainResult:
        """Take all steps that are left, and leave the trained model."""
        config, total = self.config, self.plan.total_steps
        done = False
        try:
            stream: Iterator[Batch] = iter(())
            stream_end = self.step
            self.stop.in_steps = True
            if self.step == 0:
                # The point it starts from; and a benchmark that does not open fails now.
                self._evaluate()
            while self.step < total:
                self._stop_or_commit()
                if self.step == stream_end:
                    if self.mining and not self._make_groups(pairs, on_texts):
                        continue  # a signal came
                    stream_end = self.mining.next_step(self.step, total) if self.mining else total
                    # What is read ahead ends with these groups.
                    stream = batches(
                        pairs,
                        self.plan,
                        first_step=self.step,
                        end=stream_end,
                        workers=config.workers,
                        world=self.world,
                    )
                self._take_step(self.clock.wait_for(stream), on_step)
                if self.step % config.checkpoint_every == 0 and self.step < total:
                    self._checkpoint()
                if config.evaluate_every and self.step % config.evaluate_every == 0:
                    self._evaluate()
            # Before the last checkpoint, which must be one to go on from.
            check_finite(self.stepper.towers)
            self._checkpoint()
            self.checkpoints.finish()
            path, bad = self.directory.path / MODEL, tuple(self.bad)
            with self.stepper.result():
                model = write_model(self.stepper.towers, config, path, step=self.step, bad=len(bad))
                values = self._measure(model) if model is not None else None
                if values is not None:
                    self._write({"step": self.step, "final": True, "evaluation": values})
                kept = self._end_with_best(path, values)
                if model is not None and kept.values:
                    write_card(
                        config,
                        model,
                        path,
                        step=kept.step,
                        bad=len(bad),
                        before=self._measured_before(),
                        after=kept.values,
                    )
            self.world.wait()
            done = True
            if model is not None and self.evaluate is not None and values is None:
                raise KeyboardInterrupt(f"{path} is finished; only measuring it was stopped by ^C")
        except TrainingError:
            # What is being written may be the last that was good; all processes come here.
            self.checkpoints.finish()
            raise
        finally:
            self.trackers.close(failed=not done)
        rate = self.pairs / self.seconds if self.seconds else 0.0
        before = self._measured_before()
        return TrainResult(
            path, self.step, self.seconds, rate, bad, before, kept.values, kept=kept.step
        )

    def _make_groups(self, pairs: Pairs, on_texts: OnTexts | None) -> bool:
        """Plan the next steps with groups of neighbours; return False if the run is to stop."""
        assert self.mining is not None
        if self.resumed:
            self.resumed = False
            self.plan, current = self.mining.kept(self.plan, self.step)
            if current:
                return True
        plan = self.mining.mined(
            self.plan,
            self.step,
            pairs,
            stopped=lambda: self.stop.received,
            on_texts=on_texts if self.world.first else None,
        )
        if plan is None:
            return False
        self.plan = plan
        return True

    def _measured_before(self) -> dict[str, float]:
        """Return what was measured before the first step, be it in another process."""
        measured = read_metrics(self.directory.path / METRICS).evaluations
        return next((dict(each.values) for each in measured if each.step == 0), {})

    def _take_step(self, batch: Batch, on_step: OnStep | None) -> None:
        config, total = self.config, self.plan.total_steps
        # How many pairs each process has is known only now that their pictures are read; all must
        # know it, to find their rows among those of the whole batch.
        found = self.world.gather_numbers(len(batch), len(batch.bad))
        counts = [count for count, _ in found]
        if any(bad for _, bad in found):
            self._note_bad(batch)
        measure = (self.step + 1) % config.log_every == 0 or self.step + 1 == total
        result = None
        # A step of bad items alone counts too, so that step n has the same items in every run.
        if sum(counts):
            result = self.stepper.train_step(
                batch, counts, step=self.step, total=total, measure=measure
            )
        self.step += 1
        self.pairs += sum(counts)
        self.seconds += self.clock.end_step(sum(counts))
        if on_step and self.world.first and result:
            on_step(self.step, total, f"loss {result.loss:.3f}, {self.clock.so_far()}")
        if measure:
            self._log(result)

    def _stop_or_commit(self) -> None:
        """Put a written checkpoint in its place, and end the run where a signal has come.

        Raises:
            Preempted: with exit code 75 (EX_TEMPFAIL), by which a scheduler knows to start it anew.
            KeyboardInterrupt: where the signal was ^C, which no scheduler sends.
        """
        # A signal comes to processes between different steps, and a checkpoint is written at
        # another pace in each: they agree here, so that all do the same after the same step.
        stop = self.stop
        found = self.world.gather_numbers(
            int(stop.received), int(stop.interrupted), int(self.checkpoints.written)
        )
        if all(written for *_, written in found):
            self.checkpoints.finish()
        if not any(received for received, *_ in found):
            return
        self._checkpoint()
        self.checkpoints.finish()
        # Where that could not be written, it is an earlier one.
        kept = last_checkpoint(self.directory.path) or 0
        by_hand = any(interrupted for _, interrupted, _ in found)
        message = (
            f"stopped by {'^C' if by_hand else 'a signal'} after step {self.step} of "
            f"{self.plan.total_steps}; `longclip train --resume --out {self.directory.path}` goes "
            f"on from step {kept}"
        )
        raise KeyboardInterrupt(message) if by_hand else Preempted(message)

    def _note_bad(self, batch: Batch) -> None:
        """Note items that had to be left out, in all processes.

        Raises:
            TrainingError: if these are too many.
        """
        # All processes know all of them, and so fail together where there are too many.
        for lines in self.world.gather_objects(batch.bad):
            self.bad |= dict.fromkeys(lines)
        most = self.config.max_bad_fraction * self.plan.items
        if len(self.bad) > most:
            listed = "\n  ".join(list(self.bad)[:10])
            raise TrainingError(
                f"{len(self.bad)} items cannot be used, more than --max-bad-fraction "
                f"{self.config.max_bad_fraction} of {self.plan.items}:\n  {listed}"
            )

    def _log(self, result: StepResult | None) -> None:
        """Write a line of metrics; `result` is None after a step of bad items alone."""
        since = self.clock.restart()
        values: dict[str, Any] = {
            "step": self.step,
            "total_steps": self.plan.total_steps,
            "epoch": round(self.step / self.plan.steps_per_epoch, 4),
        }
        if result:
            values["loss"] = result.loss
            values |= {f"loss_{name}": part for name, part in result.parts.items()}
            values |= {"grad_norm": result.gradient_norm, "update_norm": result.update_norm}
        bias = getattr(self.stepper.model, "logit_bias", None)
        values |= {
            "lr": self.stepper.optimizer.param_groups[0]["lr"],
            "logit_scale": self.stepper.model.logit_scale.exp().item(),
            **({"logit_bias": float(bias.detach())} if bias is not None else {}),
            "pairs": self.pairs,
            "pairs_per_second": round(since.pairs_per_second, 2),
            "seconds": round(self.seconds, 3),
            "data_wait_seconds": round(since.waited, 3),
            "memory_gb": round(peak_memory(self.world.device) / 1e9, 3),
            "bad": len(self.bad),
        }
        self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        if self.world.first:
            self.directory.log(values)
            self.trackers.log(self.step, values)

    def _evaluate(self) -> None:
        """Measure in the first process; a model in shards is brought together for it."""
        if self.evaluate is None:
            return
        with self.stepper.result():
            model, values = whole_model(self.stepper.towers, self.config), None
            if self.world.first:
                assert model is not None
                values = self._measure(model.to(self.world.device))
                if values is not None:
                    self._write({"step": self.step, "evaluation": values})
            self.world.wait()
            if self.config.keep_best:
                self._keep_if_best(values)
        self.clock.pause()  # measuring is no training time

    def _keep_if_best(self, values: dict[str, float] | None) -> None:
        """Write the model of this step, where it is the best so far; all processes call this."""
        best, better, error = self._best(), False, None
        if values is not None:
            try:
                better = best.beaten_by(values, self.best)
            except UsageError as caught:
                error = caught
        # All write it or none, and all end where the metric is none.
        for each, raised in self.world.gather_objects((better, error)):
            if raised is not None:
                raise raised
            better = better or each
        if better and self.step:  # the start is no result
            found = Best(self.step, values or {})
            try:
                path, bad = best.place(self.step), len(self.bad)
                write_model(self.stepper.towers, self.config, path, step=self.step, bad=bad)
                if values is not None:
                    best.note(found)
                    self.best = found
            except OSError as failure:  # of the first process, which alone writes
                warnings.warn(
                    f"the best model so far, of step {self.step}, could not be written "
                    f"({failure}); make room: the next one is tried again",
                    CheckpointWarning,
                    stacklevel=2,
                )

    def _end_with_best(self, path: Path, values: dict[str, float] | None) -> Best:
        """Put the best model in the place of the last step's, where that one is worse."""
        last = Best(self.step, values or {})
        if not values or not self.config.keep_best:
            return last
        folder = self._best()
        best = folder.load()  # once more: it may have been damaged since it was written
        if best is None or folder.beaten_by(values, best):
            return last
        place = folder.place(best.step)
        save(load(place), path, card=(place / README).read_text(encoding="utf-8"))
        return best

    def _best(self) -> BestModel:
        return BestModel(self.directory.path, self.config.keep_best)

    def _measure(self, model: CLIP) -> dict[str, float] | None:
        """Measure a model; None where nothing is to be measured, or ^C ended it."""
        if self.evaluate is None or self.stop.interrupted:
            return None
        # It may take long, and changes nothing: unlike a step it is not finished first.
        self.stop.in_steps = False
        try:
            with autocast(self.config, model.device):
                return self.evaluate(model)
        except KeyboardInterrupt:
            if not self.stop.interrupted:
                raise
            return None
        finally:
            self.stop.in_steps = True

    def _checkpoint(self) -> None:
        """Begin the checkpoint of this step, if there is none yet."""
        if self.step == self.saved:
            return
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "pairs": self.pairs,
            "bad": list(self.bad),
            "processes": self.world.size,
        }
        self.checkpoints.save(self.step, self._tensors(), progress)
        self.saved = self.step

    def _tensors(self) -> dict[str, Tensor]:
        return self.stepper.tensors()
