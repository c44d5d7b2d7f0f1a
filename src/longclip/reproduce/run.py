"""Run of an experiment: fetch, train, measure and report, each part once.

What is finished stays finished: a second run of the same experiment in the same directory goes on
from where the first was stopped.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from longclip.checkpoints.model_names import full_name
from longclip.encoders import open_encoder
from longclip.errors import DataError, TrainingError, UsageError
from longclip.evaluation import EvaluateConfig
from longclip.evaluation.benchmarks.catalogue import find_benchmark
from longclip.evaluation.cache import EmbeddingCache
from longclip.evaluation.results import EvaluationResult, read_results, write_results
from longclip.evaluation.session import Request, open_requests, run_session
from longclip.reproduce.experiments import SHAREGPT4V_FILE, SHAREGPT4V_HUB, Arm
from longclip.reproduce.plan import Plan, result_file
from longclip.reproduce.report import write_reports
from longclip.training.config import TrainConfig
from longclip.training.run.directory import config_json, found_from_anywhere
from longclip.util.files import write_text
from longclip.util.terminal import SILENT, OnProgress

SETTINGS = "reproduce.json"
"""What a directory of results was made with."""

_MAY_CHANGE = ("root", "out", "download", "gpus", "micro_batch", "device", "images")
"""Options that change no result but by rounding."""

OnLine = Callable[[str], None]


def reproduce(
    plan: Plan, *, on_line: OnLine = lambda _: None, on_progress: OnProgress = SILENT
) -> list[EvaluationResult]:
    """Carry out a plan; results, `report.md` and `report.html` are in `plan.out` afterwards.

    Args:
        plan: see `make_plan`.
        on_line: called with a sentence on each part before it begins.
        on_progress: called with the progress of measuring; training shows its own.

    Returns:
        The results, benchmark by benchmark.

    Raises:
        UsageError: if `plan.out` holds what was made with other settings.
        DataError: if the plan has obstacles, training data cannot be fetched, or no benchmark
            opened. One that cannot be is left out, and the report says why.
        TrainingError: if a training stopped; what it printed says why.
    """
    if plan.obstacles:
        raise DataError("; ".join(plan.obstacles))
    _claim(plan)
    if plan.config.download and not plan.config.data:
        _fetch_training_data(Path(plan.data), on_line)
    left_out = {item.what: item.detail for item in plan.items if item.state == "missing"}
    # Before days of training: what cannot be measured on shows now.
    requests: dict[str, list[Request]] = {}
    for benchmark in plan.benchmarks:
        on_line(f"opening {benchmark}")
        try:
            requests[benchmark] = open_requests(
                [benchmark],
                root=plan.config.root,
                allow_partial=plan.config.allow_partial,
                download=plan.config.download,
            )
        except DataError as error:
            left_out[benchmark] = str(error).removeprefix(f"{benchmark}: ")
            on_line(f"{benchmark} is left out: {left_out[benchmark]}")
    if not requests:
        raise DataError(
            f"there is nothing to measure {plan.name} on: "
            + "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    for arm in plan.experiment.arms:
        if arm.recipe is not None:
            _train(plan, arm, arm.recipe, on_line)
    results = [
        _measure(plan, arm, benchmark, opened, on_line, on_progress)
        for benchmark, opened in requests.items()
        for arm in plan.experiment.arms
    ]
    write_reports(plan, results, left_out)
    return results


def _claim(plan: Plan) -> None:
    """Note what the directory is for; refuse one that is for something else."""
    config = dataclasses.asdict(plan.config)
    made_with: dict[str, Any] = {
        "experiment": plan.name,
        **{key: value for key, value in config.items() if key not in _MAY_CHANGE},
    }
    made_with["model"] = found_from_anywhere(full_name(plan.config.model))
    made_with["data"] = found_from_anywhere(plan.data)
    file = plan.out / SETTINGS
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        # The data may lie elsewhere now.
        other = [key for key in made_with if key != "data" and before.get(key) != made_with[key]]
        if other:
            changes = ", ".join(
                f"{key} {before.get(key)} then, {made_with[key]} now" for key in other
            )
            raise UsageError(
                f"{plan.out} was made with other settings ({changes}); name another directory with "
                "--out, or give the same options to go on"
            )
        return
    if plan.out.exists() and any(plan.out.iterdir()):
        raise UsageError(
            f"{plan.out} holds something else; name a new directory with --out for the results"
        )
    plan.out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(made_with, indent=2) + "\n")


def _fetch_training_data(file: Path, on_line: OnLine) -> None:
    if file.exists():
        return
    from huggingface_hub import hf_hub_download

    on_line(f"fetching {SHAREGPT4V_FILE} of {SHAREGPT4V_HUB}")
    try:
        hf_hub_download(SHAREGPT4V_HUB, SHAREGPT4V_FILE, repo_type="dataset", local_dir=file.parent)
    except Exception as error:
        # The hub's client raises its own errors, its HTTP library's and OSError.
        raise DataError(
            f"{SHAREGPT4V_FILE} of {SHAREGPT4V_HUB} could not be fetched ({error}). Try again, or "
            f"put it into {file.parent} by hand"
        ) from error


def _train(plan: Plan, arm: Arm, recipe: TrainConfig, on_line: OnLine) -> None:
    """Fine-tune a model in a process of its own, or one for each GPU."""
    out = plan.out / arm.name
    if (out / "model").exists():
        return
    c = plan.config
    wanted = {name: getattr(c, name) for name in ("epochs", "steps", "limit", "batch_size")}
    settings = replace(
        recipe,
        **{name: value for name, value in wanted.items() if value},
        model=full_name(c.model),
        data=(plan.data,),
        images=plan.images,
        micro_batch=c.micro_batch,
        seed=c.seed,
        device=c.device,
    )
    file = plan.out / f"{arm.name}.json"
    write_text(file, json.dumps(config_json(settings), indent=2) + "\n")
    resume = any((out / "checkpoints").glob("*"))
    command = [sys.executable]
    if c.gpus > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={c.gpus}"]
    command += ["-m", "longclip", "train", "--out", str(out)]
    command += ["--resume"] if resume else ["--config", str(file), "--overwrite"]
    on_line(f"training {arm.name}{', from its last checkpoint' if resume else ''}")
    status = subprocess.run(command, check=False, stdout=sys.stderr).returncode
    if status == 130:
        raise KeyboardInterrupt
    if status:
        raise TrainingError(
            f"training {arm.name} stopped with exit code {status}; what it printed says why. Its "
            f"run is in {out}, and the same command goes on from there"
        )


def _measure(
    plan: Plan,
    arm: Arm,
    benchmark: str,
    requests: Sequence[Request],
    on_line: OnLine,
    on_progress: OnProgress,
) -> EvaluationResult:
    """Return the result of a model on a benchmark, measured now or before."""
    file = result_file(plan.out, arm, benchmark)
    known = read_results(file) if file.exists() else []
    if known and known[0].protocol == find_benchmark(benchmark).protocol:
        return known[0]
    on_line(f"measuring {arm.name} on {benchmark}")
    place = plan.config.model if arm.recipe is None else str(plan.out / arm.name / "model")
    session = run_session(
        [f"{arm.name}={full_name(place)}"],
        requests,
        lambda source: open_encoder(source, device=plan.config.device),
        EvaluateConfig(),
        cache=EmbeddingCache(None),
        on_progress=on_progress,
    )
    file.parent.mkdir(exist_ok=True)
    write_results(file, session.results)
    return session.results[0]
