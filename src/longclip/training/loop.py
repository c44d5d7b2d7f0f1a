"""Training loop: from a configuration to a trained model."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from longclip.checkpoints.hub import README
from longclip.checkpoints.write import refuse_foreign
from longclip.data import Collection
from longclip.data.collection import refuse_absent
from longclip.data.holdout import Holdout, hold_out
from longclip.data.mixture import Mixture
from longclip.data.summary import DataSummary, summarise
from longclip.errors import Preempted, TrainingError, UsageError
from longclip.model import CLIP, load, save
from longclip.runs.run_files import METRICS, MODEL, last_checkpoint, read_metrics
from longclip.training.config import TrainConfig
from longclip.training.data import (
    Batch,
    Pairs,
    PixelStore,
    batches,
    make_store,
    open_data,
    read_options,
)
from longclip.training.distributed import World, world
from longclip.training.forward import autocast
from longclip.training.objectives import Objective, find_objective, objective_name
from longclip.training.plan import Plan, plan_of
from longclip.training.process import StopRequest, keep_freed_memory, peak_memory, stop_request
from longclip.training.run.best_model import Best, BestModel
from longclip.training.run.checkpoint import CheckpointWarning, RunCheckpoints, training_tensors
from longclip.training.run.content import (
    check_data,
    data_content,
    model_content,
    resumed_model,
)
from longclip.training.run.directory import CONTENT, RunDirectory, config_json
from longclip.training.run.log import Clock, Trackers
from longclip.training.run.model import (
    check_finite,
    initial_model,
    original_model,
    whole_model,
    write_card,
    write_model,
)
from longclip.training.step import Stepper, StepResult
from longclip.training.summary import first_lines, resume_line

OnStep = Callable[[int, int, str], None]
"""Called after each step with (steps done, steps in all, a few words on loss and pace)."""

OnStart = Callable[[list[str]], None]
"""Called before the first step with lines for people: what is trained on what, and how."""

Evaluate = Callable[[CLIP], dict[str, float]]
"""Measures a model and returns values by name."""

MeasureHoldout = Callable[[Collection, float], Evaluate]
"""Returns what measures on pictures that are held out; takes them, and which share may be bad."""


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


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    changed_data: bool = False,
    store: PixelStore | None = None,
    on_start: OnStart | None = None,
    on_step: OnStep | None = None,
    evaluate: Evaluate | None = None,
    measure_holdout: MeasureHoldout | None = None,
    objective: Objective | None = None,
) -> TrainResult:
    """Run a recipe; the trained model is in `config.out / "model"` afterwards.

    Started by torchrun, all its processes run this together and learn from one batch, as one
    process would.

    Args:
        config: everything the run depends on.
        resume: continue the run in `config.out` from its last checkpoint; with the same number of
            processes on the same machine the result is bit for bit that of an uninterrupted run,
            otherwise it is the same up to rounding.
        overwrite: delete the run in `config.out`, if there is one, once the new one can begin.
        changed_data: resume although the data is not what the run was started with.
        store: pictures that are decoded already, in place of opening `config.data`.
        on_start: called once all is open, before the first step.
        on_step: called after every step.
        evaluate: measures the model every `config.evaluate_every` steps and at the end, in the
            first process; see `longclip.evaluation.periodic`.
        measure_holdout: opens the pictures that `config.holdout` keeps out of training, which are
            then measured on likewise; see `longclip.evaluation.periodic.holdout_evaluation`.
        objective: what is to be made small, in place of the one that `config.objective` names; a
            run is resumed with the same one, by its name (`objective_name`).

    Raises:
        ValueError: if the configuration, the model or the data do not fit together.
        FileExistsError: if `config.out` holds a run and neither `resume` nor `overwrite` is set.
        TrainingError: if too many pictures cannot be read or the loss is no longer a number.
        Preempted: if SIGTERM or SIGUSR1 came; the run can be resumed.
        KeyboardInterrupt: after ^C; where steps were made the run can be resumed.
    """
    if config.evaluate and evaluate is None:
        raise UsageError(
            "config.evaluate names data, but nothing to measure with was handed over: "
            "train(config, evaluate=periodic_evaluation(config.evaluate))"
        )
    if config.holdout and measure_holdout is None:
        raise UsageError(
            "config.holdout keeps pictures to be measured on, but nothing to measure with was "
            "handed over: train(config, measure_holdout=holdout_evaluation)"
        )
    if config.holdout and store is not None:
        raise UsageError("config.holdout is for data that is opened here; leave out store")
    if objective is None:
        objective = find_objective(config.objective)
    else:
        config = replace(config, objective=objective_name(objective))
    if resume and overwrite:
        raise UsageError("--resume goes on in a run, --overwrite deletes it; take one of them")
    if changed_data and not resume:
        raise UsageError("--changed-data is for --resume: a new run takes whatever data there is")
    with world(config.device) as processes, stop_request() as stop:
        directory = RunDirectory(config.out)
        directory.check_free(processes, resume=resume, overwrite=overwrite)
        refuse_foreign(config.out / MODEL)  # not only after the last step
        # The run comes last: a configuration that cannot work must not leave one behind.
        before = directory.started(config, processes) if resume else {}
        started = before.get(CONTENT, {})
        if "model" in started:
            # A model that is no longer there must not end a run that has left it behind.
            asked = config_json(config)
            start_needed = (
                last_checkpoint(config.out) is None
                or config.distill_weight > 0
                or config.wise_ft > 0
                or any(asked[name] != before.get(name) for name in ("model", "scratch"))
            )
            model = resumed_model(
                config, started["model"], processes.device, start_needed=start_needed
            )
        else:
            model = initial_model(config, processes.device)
        original = original_model(config).to(processes.device) if config.distill_weight else None
        if processes.device.type == "cpu":
            keep_freed_memory()
        whole = store.collection if store else open_data(config, processes)
        holdout = None
        if config.holdout:
            assert isinstance(whole, Mixture)
            assert measure_holdout is not None
            holdout = hold_out(whole, config.holdout, seed=config.seed, limit=config.limit)
            evaluate = _with_holdout(config, holdout, measure_holdout, evaluate)
        if store is None:
            store = make_store(config, model, holdout.training if holdout else whole)
        plan = plan_of(config, store.collection, held_out=len(holdout.held) if holdout else 0)
        refuse_absent(store.collection, config.max_bad_fraction, items=plan.items)
        if processes.first:
            for problem in whole.problems:
                warnings.warn(problem, stacklevel=2)
        content = {
            "model": started.get("model") or model_content(model),
            "data": _data_content(config, store.collection, processes, started, changed_data),
        }
        trackers = Trackers(
            config.out,
            config_json(config),
            tensorboard=config.tensorboard and processes.first,
            wandb=config.wandb if processes.first else "",
        )
        stepper = Stepper(config, model, original, objective, processes)
        pairs = Pairs(store, read_options(config, model))
        with directory.writing(config, content, processes, resume=resume, overwrite=overwrite):
            data: list[DataSummary] = []
            if processes.first:
                data = summarise(whole)
                directory.describe_data(data)
                if on_start:
                    held = len(holdout.held) if holdout else 0
                    on_start(first_lines(config, stepper.model, plan, processes, data, held))
            checkpoints = RunCheckpoints(
                config.out,
                processes,
                config.keep_checkpoints,
                config_json(config) | {CONTENT: content},
            )
            run = _Run(
                config, processes, stepper, plan, directory, checkpoints, trackers, evaluate, stop
            )
            if resume:
                run.restore()
                if processes.first and on_start:
                    on_start([resume_line(run.step, plan.total_steps)])
            result = run.finish_steps(pairs, on_step)
            # One stays, so that resuming a finished run finds nothing left to do.
            checkpoints.keep_last()
            return replace(result, data=tuple(data))


def _with_holdout(
    config: TrainConfig, holdout: Holdout, measure: MeasureHoldout, evaluate: Evaluate | None
) -> Evaluate:
    """Return what measures on held-out pictures, and what `evaluate` measures on."""
    # As many of them may be bad as of all the data: of a few, one is a large share already.
    data = len(holdout.training) + len(holdout.held)
    most_bad = min(1.0, config.max_bad_fraction * data / len(holdout.held))
    measured = measure(holdout.held, most_bad)
    if evaluate is None:
        return measured
    other = evaluate
    return lambda model: measured(model) | other(model)


def _data_content(
    config: TrainConfig,
    collection: Collection,
    world: World,
    started: Mapping[str, Any],
    changed_data: bool,
) -> dict[str, Any]:
    """Return what the data is known by, found by the first process, and compare it on resuming.

    Raises:
        DataError: if the run was started with other data; in all processes.
    """
    found: dict[str, Any] = {}
    error: Exception | None = None
    if world.first:
        try:
            found = data_content(collection)
            if "data" in started and not changed_data:
                check_data(found, started["data"], ", ".join(map(str, config.data)))
        except (ValueError, OSError) as caught:
            error = caught
    found, error = world.gather_objects((found, error))[0]
    if error is not None:
        raise error
    return found


@dataclass
class _Run:
    """State of a run: its step, its time, and the items it has left out."""

    config: TrainConfig
    world: World
    stepper: Stepper
    plan: Plan
    directory: RunDirectory
    checkpoints: RunCheckpoints
    trackers: Trackers
    evaluate: Evaluate | None
    stop: StopRequest
    clock: Clock = field(default_factory=Clock)
    step: int = 0
    saved: int = 0  # step of the last checkpoint
    seconds: float = 0.0
    pairs: int = 0
    # A dictionary for a set: in the order in which items were met, which is to be the same again.
    bad: dict[str, None] = field(default_factory=dict)
    best: Best | None = None  # so far, known to the first process

    def restore(self) -> None:
        """Continue from the last checkpoint, or from the beginning where there is none."""
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

    def finish_steps(self, pairs: Pairs, on_step: OnStep | None) -> TrainResult:
        """Take all steps that are left, and leave the trained model."""
        config, total = self.config, self.plan.total_steps
        done = False
        try:
            stream = batches(
                pairs, self.plan, first_step=self.step, workers=config.workers, world=self.world
            )
            self.stop.in_steps = True
            if self.step == 0:
                # The point it starts from; and a benchmark that does not open fails now.
                self._evaluate()
            while self.step < total:
                self._stop_or_commit()
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
            model = write_model(self.stepper.towers, config, path, step=self.step, bad=len(bad))
            values = self._measure(model) if model is not None else None
            if values is not None:
                self._write({"step": self.step, "final": True, "evaluation": values})
            kept = self._end_with_best(path, values)
            if model is not None and kept.values:
                write_card(
                    config,
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
        values |= {
            "lr": self.stepper.optimizer.param_groups[0]["lr"],
            "logit_scale": self.stepper.model.logit_scale.exp().item(),
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
        return training_tensors(self.stepper.towers.towers, self.stepper.optimizer)
