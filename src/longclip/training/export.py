"""The model that a run leaves: whole, merged, averaged, a stock CLIP, with a card."""

import copy
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from longclip import __version__
from longclip.checkpoints.hub import Card, source_name
from longclip.errors import TrainingError
from longclip.model import CLIP, save
from longclip.training.config import TrainConfig
from longclip.training.recipes import peak_lr
from longclip.training.setup import choose_what_learns, initial_model
from longclip.training.step import Stepper


@torch.no_grad()
def whole_model(stepper: Stepper, config: TrainConfig) -> CLIP | None:
    """The model in one piece, to be looked at and not changed.

    Where weights are sharded they are brought together in the first process, in host memory; the
    others get None, and must call this too.
    """
    if not stepper.towers.sharded:
        return stepper.model
    first = stepper.towers.world.first
    weights: dict[str, Tensor] = {}
    for name, value in stepper.model.state_dict().items():
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if first:
            weights[name] = whole.cpu()
    if not first:
        return None
    model = CLIP(stepper.model.config, stepper.model.preprocess)
    choose_what_learns(model, config)
    model.load_state_dict(weights)
    return model


def check_finite(stepper: Stepper) -> None:
    """See that the last steps did not end in weights that are no numbers.

    Raises:
        TrainingError: if they did; in all processes.
    """
    finite = [
        (p.to_local() if isinstance(p, DTensor) else p).isfinite().all()
        for p in stepper.model.parameters()
    ]
    broken = int(not bool(torch.stack(finite).all()))
    if any(found for [found] in stepper.towers.world.gather_numbers(broken)):
        raise TrainingError(
            "the weights are no longer finite: training has diverged at its end; start again with "
            "a lower --lr"
        )


def write_model(
    stepper: Stepper, config: TrainConfig, path: Path, *, step: int, bad: int
) -> CLIP | None:
    """Save the model of a finished run, in the first process; None in all others.

    Low-rank changes are merged and, where the run asks for it, weights are averaged with the
    stretched original (WiSE-FT, Wortsman et al. 2022): a stock CLIP in any case.
    """
    model = whole_model(stepper, config)
    if model is None or not stepper.towers.world.first:
        return None
    if config.lora_rank:
        from longclip.training.lora import merge_lora

        model = copy.deepcopy(model)
        merge_lora(model)
    if config.wise_ft:
        from longclip.model.average import average

        device = model.device  # it is going to be measured, which takes long on a CPU
        model = average(model.cpu(), initial_model(config), config.wise_ft).to(device)
    save(model.eval(), path, card=run_card(config, steps=step, bad=bad))
    return model


# Named above the settings, or where the data lay.
_NO_SETTINGS = {"recipe", "model", "scratch", "data", "images"}


def run_card(config: TrainConfig, *, steps: int, bad: int) -> str:
    """Markdown for the README.md of a run's model; `bad` items of the data were left out."""
    scratch = config.scratch and f"random weights ({source_name(config.scratch)})"
    facts = {
        "started from": scratch or source_name(config.model),
        "recipe": config.recipe,
        "data": ", ".join(map(source_name, config.data)),
        "steps × pairs": f"{steps:,} × {config.batch_size:,}",
        "peak learning rate": f"{peak_lr(config):.3g}",
        "items left out as unusable": str(bad),
    }
    settings = "\n".join(
        f"- `{option.name}`: {getattr(config, option.name)}"
        for option in fields(config)
        if not (option.metadata["resumable"] or option.name in _NO_SETTINGS)
        and getattr(config, option.name) != option.default
    )
    return Card(
        title=config.out.name or "model",
        introduction=f"A CLIP trained by longclip {__version__}.",
        facts=facts,
        sections={"Settings other than the defaults": settings} if settings else None,
    ).text()
