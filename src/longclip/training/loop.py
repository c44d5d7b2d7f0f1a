"""Training: from a configuration to a trained model."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from longclip.checkpoints.model_names import full_name
from longclip.checkpoints.write import refuse_foreign
from longclip.data import Collection
from longclip.data.collection import refuse_absent
from longclip.data.holdout import Holdout, hold_out
from longclip.data.mixture import Mixture
from longclip.data.summary import DataSummary, summarise
from longclip.errors import UsageError
from longclip.model import CLIP
from longclip.model.pretrained import place
from longclip.runs.run_files import MODEL, last_checkpoint
from longclip.training.config import TrainConfig
from longclip.training.data import (
    Pairs,
    PixelStore,
    make_store,
    open_data,
    read_options,
)
from longclip.training.distributed import World, world
from longclip.training.mining import Mining, OnTexts
from longclip.training.objectives import Objective, find_objective, objective_name
from longclip.training.plan import plan_of
from longclip.training.preflight import check_start_or_resume, refuse_unread_options
from longclip.training.process import keep_freed_memory, stop_request
from longclip.training.run.checkpoint import RunCheckpoints
from longclip.training.run.content import (
    check_data,
    check_teacher,
    data_content,
    model_content,
    resumed_model,
    start_digest,
)
from longclip.training.run.directory import CONTENT, RunDirectory, config_json
from longclip.training.run.log import Trackers
from longclip.training.run.model import (
    initial_model,
    original_model,
)
from longclip.training.step import Stepper
from longclip.training.summary import first_lines, resume_line
from longclip.training.teachers import load_long_teacher
from longclip.training.trainer import Evaluate, OnStep, Trainer, TrainResult

OnStart = Callable[[list[str]], None]
"""Called before the first step with lines for people: what is trained on what, and how."""

MeasureHoldout = Callable[[Collection, float], Evaluate]
"""Returns what measures on pictures that are held out; takes them, and which share may be bad."""


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    changed_data: bool = False,
    store: PixelStore | None = None,
    on_start: OnStart | None = None,
    on_step: OnStep | None = None,
    on_texts: OnTexts | None = None,
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
        on_texts: called in the first process while texts are embedded for `config.neighbours`.
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
    check_start_or_resume(resume=resume, overwrite=overwrite, changed_data=changed_data)
    _check_measuring(config, evaluate, measure_holdout, store)
    if store is None and not resume:
        refuse_unread_options(config)
    config = replace(
        config, model=full_name(config.model), long_teacher=full_name(config.long_teacher)
    )
    if objective is None:
        objective = find_objective(config.objective)
    else:
        config = replace(config, objective=objective_name(objective))
    with world(config.device) as processes, stop_request() as stop:
        directory = RunDirectory(config.out)
        directory.check_free(processes, resume=resume, overwrite=overwrite)
        refuse_foreign(config.out / MODEL)  # not only after the last step
        # The run comes last: a configuration that cannot work must not leave one behind.
        before = directory.started(config, processes) if resume else {}
        started = before.get(CONTENT, {})
        model = _model_to_train(config, before, processes)
        # Before data is opened, which may take long.
        model.check_tokenizer()
        model.prepare_images()
        original = original_model(config).to(processes.device) if config.distill_weight else None
        teacher = load_long_teacher(config, model)
        if teacher is not None:
            check_teacher(config.long_teacher, teacher, started)
            teacher = place(teacher, processes.device)
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
        if teacher is not None:
            content["long_teacher"] = start_digest(teacher)
        trackers = Trackers(
            config.out,
            config_json(config),
            tensorboard=config.tensorboard and processes.first,
            wandb=config.wandb if processes.first else "",
        )
        stepper = Stepper(config, model, original, objective, processes, teacher)
        pairs = Pairs(store, read_options(config, model, original))
        with directory.writing(config, content, processes, resume=resume, overwrite=overwrite):
            data: list[DataSummary] = []
            if processes.first:
                data = summarise(whole)
                directory.describe_data(data)
                if model.tokenizer_files:
                    directory.keep_tokenizer(model.tokenizer_files.contents)
                if on_start:
                    held = len(holdout.held) if holdout else 0
                    on_start(first_lines(config, stepper.model, plan, processes, data, held))
            checkpoints = RunCheckpoints(
                config.out,
                processes,
                config.keep_checkpoints,
                config_json(config) | {CONTENT: content},
            )
            mining = None
            if config.neighbours:
                made_from = {key: content[key]["sha256"] for key in ("data", "model")}
                mining = Mining(
                    config,
                    stepper.towers,
                    stepper.autocast,
                    processes,
                    config.out,
                    made_from | {"neighbours": config.neighbours},
                )
            run = Trainer(
                config,
                processes,
                stepper,
                plan,
                directory,
                checkpoints,
                trackers,
                evaluate,
                stop,
                mining,
            )
            if resume:
                run.restore()
                if processes.first and on_start:
                    on_start([resume_line(run.step, plan.total_steps)])
            result = run.finish_steps(pairs, on_step, on_texts)
            # One stays, so that resuming a finished run finds nothing left to do.
            checkpoints.keep_last()
            return replace(result, data=tuple(data))


def _check_measuring(
    config: TrainConfig,
    evaluate: Evaluate | None,
    measure_holdout: MeasureHoldout | None,
    store: PixelStore | None,
) -> None:
    """Check that what the configuration wants measured can be.

    Raises:
        UsageError: says what to hand over.
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


def _model_to_train(config: TrainConfig, before: Mapping[str, Any], world: World) -> CLIP:
    """Return the model that a run starts from, or one to be filled from its checkpoint.

    Args:
        config: of the run.
        before: what config.json of a run that is resumed holds; empty for a new one.
        world: the processes.
    """
    if "model" not in before.get(CONTENT, {}):
        return initial_model(config, world.device)
    # A model that is no longer there must not end a run that has left it behind.
    asked = config_json(config)
    start_needed = (
        last_checkpoint(config.out) is None
        or config.distill_weight > 0
        or config.wise_ft > 0
        or any(asked[name] != before.get(name) for name in ("model", "scratch"))
    )
    return resumed_model(config, before[CONTENT]["model"], world.device, start_needed=start_needed)


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
