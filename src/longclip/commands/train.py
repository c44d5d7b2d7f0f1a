"""`longclip train`."""

import dataclasses
from typing import Annotated, Any, Literal, get_type_hints

from cyclopts import Parameter

from longclip.training.config import TrainConfig
from longclip.training.recipes import RECIPES

_EACH_RECIPE = {name: recipe() for name, recipe in RECIPES.items()}


def _override(field: dataclasses.Field[Any]) -> tuple[str, Any, Any]:
    """One option that, left out, keeps the recipe's value."""
    values = {name: getattr(recipe, field.name) for name, recipe in _EACH_RECIPE.items()}
    shown = {name: _show(value) for name, value in values.items()}
    if len(set(shown.values())) == 1:
        default = next(iter(shown.values()))
    else:
        default = ", ".join(f"{name} {value}" for name, value in shown.items())
    text = f"{field.metadata['help']} [{default}]" if default else field.metadata["help"]
    wanted: Any = get_type_hints(TrainConfig)[field.name]
    annotated = Annotated[
        wanted | None, Parameter(help=text, show_default=False, negative_iterable="")
    ]
    return field.name, annotated, dataclasses.field(default=None)


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, tuple) else str(value)


Overrides: Any = dataclasses.make_dataclass(
    "Overrides",
    [_override(f) for f in dataclasses.fields(TrainConfig) if f.name != "recipe"],
    frozen=True,
    kw_only=True,
)
# make_dataclass says "types", and cyclopts does not look into what is built in.
Overrides.__module__ = __name__


def train_command(
    *,
    recipe: Literal["clip", "direct", "paper", "reference", "debias", "best"] = "paper",
    options: Annotated[Overrides, Parameter(name="*")] = Overrides(),  # noqa: B008 (frozen)
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Pre-train or fine-tune a CLIP; the model is in OUT/model afterwards.

    `paper` is Long-CLIP: knowledge-preserved stretching, then fine-tuning on long texts with
    primary component matching. `direct` is the paper's baseline: plain interpolation, long texts
    only. `reference` has the settings of Long-CLIP's published code, `debias` those of DeBias-CLIP.
    `best` did best in our own comparison. `clip` pre-trains a base model on short captions. Every
    option below replaces the recipe's own value, which stands in brackets.

    Under torchrun all processes learn from one batch, as one would. SIGTERM or SIGUSR1 end a run
    with a checkpoint and exit code 75; --resume continues it, with any number of processes.

    Example: `longclip train --recipe paper --model nano --data scenes --out runs/paper --steps 100`

    Example: `torchrun --nproc-per-node 8 -m longclip train --recipe paper --model ViT-L-14.pt
    --data sharegpt4v.json --images data --out runs/l14`

    Parameters
    ----------
    recipe:
        Where the options get their values from; with --resume from the run itself.
    resume:
        Continue the run in OUT from its last checkpoint. Options that change no result, such as
        --workers or --micro-batch, may be given anew.
    json:
        Print the result as JSON.
    """
    import os

    from longclip._progress import progress_display
    from longclip.training.loop import train
    from longclip.training.run_state import read_config

    given = {key: value for key, value in vars(options).items() if value is not None}
    start = _EACH_RECIPE[recipe]
    if resume:
        start = read_config(given.get("out", start.out))
    config = dataclasses.replace(start, **given)
    evaluate = None
    if config.evaluate:
        from longclip.evaluation.periodic import periodic_evaluation

        evaluate = periodic_evaluation(config.evaluate)
    with progress_display() as progress:
        result = train(
            config,
            resume=resume,
            on_step=lambda n, of, note: progress(recipe, n, of, note),
            evaluate=evaluate,
        )
    if os.environ.get("RANK", "0") == "0":
        _tell(result, as_json=json)


def _tell(result: Any, *, as_json: bool) -> None:
    import json

    if as_json:
        print(json.dumps(dataclasses.asdict(result) | {"model": str(result.model)}))
        return
    for line in result.bad:
        print(f"left out: {line}")
    print(
        f"{result.model}: {result.steps} steps in {result.seconds:.0f} s, "
        f"{result.pairs_per_second:.0f} pairs/s"
    )
