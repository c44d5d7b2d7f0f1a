"""From a model in training to the one that is kept: whole, merged, averaged, a stock CLIP."""

import copy
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from longclip.errors import TrainingError
from longclip.model import CLIP, save
from longclip.training.card import run_card
from longclip.training.config import TrainConfig
from longclip.training.starting import choose_what_learns, initial_model
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
