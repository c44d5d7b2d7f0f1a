"""`longclip train`."""

import dataclasses
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from longclip.cli.options import AS_OPTIONS, AsJson, full_name, given, overrides
from longclip.data.names import Kind, kind_of, reads
from longclip.errors import UsageError
from longclip.training.config import TrainConfig
from longclip.training.preflight import (
    check_data_name,
    check_data_names,
    check_small_tables,
    check_start,
    check_start_or_resume,
    columns_of,
    given_on_data,
    refuse_unread_options,
)
from longclip.training.recipes import RECIPES, find_recipe, recipe_names

_WORDS = {*sys.argv, *map(" ".join, pairwise(sys.argv))}
_STARTS: dict[str, TrainConfig] = {name: recipe() for name, recipe in RECIPES.items()}
# `--help` shows the values of the recipe that stands beside it.
_CHOSEN = next(
    (name for name in RECIPES if {f"--recipe={name}", f"--recipe {name}"} & _WORDS), "paper"
)
_RECIPES_HELP = (
    "Where the options get their values from, `paper` if not said; with --resume the run itself. "
    + " ".join(
        f"`{name}`: {(make.__doc__ or '').strip().splitlines()[0]}"
        for name, make in RECIPES.items()
    )
)
_OVERRIDES: Any = overrides(_STARTS, chosen=_CHOSEN, but=["recipe"])


def _check_recipe(kind: Any, name: str | None) -> None:
    if name is not None and name not in RECIPES and name not in (known := recipe_names()):
        raise ValueError(f"{name} is none of {', '.join(known)}.")


def train_command(
    *,
    recipe: Annotated[str | None, Parameter(help=_RECIPES_HELP, validator=_check_recipe)] = None,
    config: Path | None = None,
    options: Annotated[_OVERRIDES, AS_OPTIONS] = _OVERRIDES(),  # noqa: B008 (frozen)
    resume: bool = False,
    overwrite: bool = False,
    changed_data: bool = False,
    as_json: AsJson = False,
) -> None:
    """Pre-train or fine-tune a CLIP.

    The model is in OUT/model afterwards. Options replace the recipe's own values. Those of `paper`
    stand in brackets, with a star where recipes differ; `longclip train --recipe best --help` shows
    those of `best`.

    Under torchrun all processes learn from one batch, as one would. SIGTERM or SIGUSR1 end a run
    with a checkpoint and exit code 75; --resume continues it, with any number of processes.

    Example: `longclip train --recipe paper --model nano --data scenes --out runs/paper --steps 100`

    Example: `torchrun --nproc-per-node 8 -m longclip train --recipe paper --model ViT-L-14.pt
    --data sharegpt4v.json --images data --out runs/l14`

    Parameters
    ----------
    config:
        Options from a file: TOML, or the config.json of another run. Those on the command line go
        before it.
    resume:
        Continue the run in OUT from its last checkpoint. Options that change no result, such as
        --workers or --micro-batch, may be given anew; so may --data, --images and --model, where
        the same content is elsewhere now.
    overwrite:
        Delete the run in OUT, if there is one, once the new one can begin; its model stays until
        the new one takes its place.
    changed_data:
        With --resume: go on although the data is not what the run was started with.
    """
    import json
    import os

    first = os.environ.get("RANK", "0") == "0"
    check_start_or_resume(resume=resume, overwrite=overwrite, changed_data=changed_data)
    changed = given(options)
    if "scratch" in changed and "model" in changed:
        raise UsageError("--scratch starts without a model; leave out --model or --scratch")
    if config is not None:
        from longclip.training.config_file import read_options_file

        # A model on the command line takes the place of the file's architecture.
        from_model = {"scratch": ""} if "model" in changed else {}
        changed = read_options_file(config) | from_model | changed
    # The label, which is no option, is that of the recipe.
    recipe = recipe or changed.get("recipe")
    changed.pop("recipe", None)
    if resume:
        from longclip.training.run.directory import read_config

        start = read_config(changed.get("out", TrainConfig().out))
        if recipe not in (None, start.recipe):
            raise UsageError(
                f"{start.out} is a run of the recipe {start.recipe}, which --resume continues, and "
                f"not of {recipe}; leave out --recipe, or start another run"
            )
    elif recipe == TrainConfig().recipe:
        start = TrainConfig()
    else:
        start = find_recipe(recipe or "paper")
    settings = dataclasses.replace(start, **changed)
    if not settings.scratch:
        settings = dataclasses.replace(settings, model=full_name(settings.model))
    if resume:
        check_data_names(settings, resume=True)
        if "images" in changed:
            refuse_unread_options(settings)
    else:
        _check_evaluate(settings)
        check_start(settings, overwrite=overwrite)

    def say(lines: Iterable[str]) -> None:
        if first:
            print("\n".join(lines), file=sys.stderr, flush=True)

    start_from = f"{settings.scratch} from random weights" if settings.scratch else settings.model
    say([f"{settings.recipe}: {start_from}, on {', '.join(settings.data)}; loading torch …"])

    from longclip.evaluation.periodic import holdout_evaluation, periodic_evaluation
    from longclip.model.pretrained import check_before_loading
    from longclip.training.loop import train
    from longclip.util.terminal import counted, progress_display

    if not resume:
        check_before_loading(settings.scratch or settings.model, images=True)
        check_small_tables(settings)
    evaluate = None
    if settings.evaluate:
        evaluate = periodic_evaluation(
            settings.evaluate, columns=columns_of(settings), images=settings.images, on_start=say
        )
    with progress_display() as progress:
        result = train(
            settings,
            resume=resume,
            overwrite=overwrite,
            changed_data=changed_data,
            on_start=say,
            on_step=lambda n, of, note: progress(settings.recipe, n, of, note),
            on_texts=lambda n, of: progress("neighbours", n, of),
            evaluate=evaluate,
            measure_holdout=holdout_evaluation,
        )
    if not first:
        return
    if as_json:
        print(json.dumps(dataclasses.asdict(result) | {"model": str(result.model)}))
        return
    for line in result.bad:
        print(f"left out: {line}")
    for name, value in result.after.items():
        before = f"{100 * result.before[name]:.1f} → " if name in result.before else ""
        print(f"{name}: {before}{100 * value:.1f} %")
    speed = f"{result.seconds:.0f} s, {result.pairs_per_second:.0f} pairs/s"
    print(f"{result.model}: {counted(result.steps, 'step')} in {speed}")
    if result.kept != result.steps:
        print(
            f"kept: the model of step {result.kept}, the best of --keep-best {settings.keep_best}"
        )
    if not result.after:
        print("nothing was measured; --holdout 0.05 or --evaluate DATA does, before and after")
    data = settings.evaluate[0] if settings.evaluate else "DATA"
    same = ""
    for role, flag in given_on_data(settings).items():
        # Scenes and benchmarks would refuse what is for other data.
        if data == "DATA" or (kind_of(data) is not Kind.MISSING and reads(role, data)):
            own = settings.images if role == "images" else [getattr(settings, f"{role}_column")]
            same += "".join(f" {flag} {value}" for value in own)
    print(f"next: longclip eval {result.model} --data {data}{same}")
    print(f"      longclip index PHOTOS --db PHOTOS.db --model {result.model}")


def _check_evaluate(config: TrainConfig) -> None:
    """Check that --evaluate names benchmarks or data.

    Raises:
        DataError: if one is neither.
    """
    from longclip.evaluation.benchmarks import BENCHMARKS, SUITES

    for name in config.evaluate:
        if name.partition("=")[0] not in (*BENCHMARKS, *SUITES):
            check_data_name(name, "--evaluate", "there is no such benchmark, file or folder")
