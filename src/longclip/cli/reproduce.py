"""`longclip reproduce`."""

from typing import Annotated

from longclip.cli.options import AS_OPTIONS, AsJson, full_name, say_waiting, when_interrupted
from longclip.reproduce.config import ReproduceConfig
from longclip.reproduce.experiments import ExperimentName


def reproduce_command(
    experiment: ExperimentName,
    /,
    *,
    options: Annotated[ReproduceConfig, AS_OPTIONS] = ReproduceConfig(),  # noqa: B008 (frozen)
    plan: bool = False,
    as_json: AsJson = False,
) -> None:
    """Repeat an experiment of a paper: weights, data, training, and tables beside its numbers.

    First a plan is printed: what is there, what will be fetched (sizes, licences), what will be
    trained and for how long. `paper` are the tables of Long-CLIP, `supplement-table3` is its
    ablation of stretching and primary component matching, `debias` sets DeBias-CLIP beside it.
    OUT holds report.md and report.html afterwards. Stopped at any point, the same command goes on.

    Example: `longclip reproduce paper --root datasets --download --gpus 8`

    Example: `longclip reproduce debias --model ViT-L/14 --root datasets --plan`

    Parameters
    ----------
    experiment:
        paper, supplement-table3 or debias.
    plan:
        Print the plan and end.
    """
    import json
    import sys

    from longclip.reproduce.plan import make_plan

    full_name(options.model)
    planned = make_plan(experiment, options)
    print("\n".join(planned.lines()), file=sys.stderr, flush=True)
    if plan:
        if as_json:
            items = [vars(item) for item in planned.items]
            print(json.dumps({"out": str(planned.out), "items": items}))
        return
    say_waiting("loading torch …")
    from longclip.evaluation import results
    from longclip.reproduce.run import reproduce
    from longclip.util.terminal import progress_display

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with (
        when_interrupted("what is done is kept, and the same command goes on from there"),
        progress_display() as progress,
    ):
        found = reproduce(planned, on_line=say, on_progress=progress)
    if as_json:
        print(results.as_json(found), end="")
    else:
        print((planned.out / "report.md").read_text(encoding="utf-8"), end="")
    for name in ("report.md", "report.html"):
        print(f"written: {planned.out / name}", file=sys.stderr if as_json else sys.stdout)
