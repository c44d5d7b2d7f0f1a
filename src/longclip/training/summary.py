"""What a run says first: what is trained on what, and how."""

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from longclip.data.summary import DataSummary
from longclip.model import CLIP
from longclip.training.config import TrainConfig
from longclip.training.distributed import World
from longclip.training.plan import Plan
from longclip.training.recipes import find_recipe, recipe_names
from longclip.training.schedule import peak_lr
from longclip.util.hardware import has_fast_bfloat16
from longclip.util.terminal import counted

_LEARNS = {
    "all": "all of it learns",
    "image": "the image tower alone learns",
    "text": "the text tower alone learns",
    "positions": "the text positions alone learn",
}


def first_lines(
    config: TrainConfig,
    model: CLIP,
    plan: Plan,
    world: World,
    data: Sequence[DataSummary],
    held_out: int = 0,
) -> list[str]:
    """Return lines for people on the model, the data, the recipe, the steps and where it runs.

    Args:
        config: of the run.
        model: stretched already, and with what does not learn frozen.
        plan: of the steps.
        world: the processes.
        data: what each source was taken for.
        held_out: pictures of them that are measured on.
    """
    trained = f"{counted(plan.items, 'picture')} to train on"
    return [
        f"model: {_model(config, model)}",
        *(f"data: {summary}" for summary in data),
        *([f"data: {trained}, {held_out:,} held out (seed {config.seed})"] if held_out else []),
        f"recipe: {_recipe(config)}",
        f"steps: {_steps(config, plan)}",
        f"runs on: {_place(config, world)}; goes into {config.out}",
    ]


def resume_line(step: int, total: int) -> str:
    """Say where a run goes on that has made some of its steps."""
    if step == total:
        return f"finished: all {counted(total, 'step')} were made before; only the model is written"
    return f"goes on after step {step:,} of {total:,}"


def _model(config: TrainConfig, model: CLIP) -> str:
    start = f"{config.scratch} from random weights" if config.scratch else config.model
    length = f"{model.context_length} tokens"
    if config.stretch != "none":
        kept = f", the first {config.keep} kept" if config.stretch != "linear" else ""
        length = f"stretched to {length} ({config.stretch}{kept})"
    parameters = list(model.parameters())
    total = sum(each.numel() for each in parameters)
    learned = sum(each.numel() for each in parameters if each.requires_grad)
    learns = f"{_LEARNS[config.learn]}: {learned / 1e6:.1f} of {total / 1e6:.1f} million weights"
    if config.lora_rank:
        of_tower = "" if config.learn == "all" else f" of the {config.learn} tower alone"
        learns = (
            f"low-rank changes of rank {config.lora_rank}{of_tower} learn: "
            f"{learned / 1e6:.2f} million"
        )
    settled = config.with_losses_of(logit_bias=model.config.logit_bias)
    sigmoid = "sigmoid" in (settled.long_loss, settled.short_loss)
    return f"{start}, {length}; {learns}" + "; sigmoid loss" * sigmoid


def _recipe(config: TrainConfig) -> str:
    """Say what the recipe sets, and what of the method was changed."""
    if config.recipe not in recipe_names():
        return config.recipe
    recipe, plain = find_recipe(config.recipe), TrainConfig()
    own = _differences(recipe, plain)
    changed = _differences(config, recipe)
    # They stand in the other lines.
    for name in (
        "model",
        "scratch",
        "data",
        "images",
        "holdout",
        "steps",
        "epochs",
        "batch_size",
        "lr",
    ):
        changed.pop(name, None)
    text = f"{config.recipe} ({_settings(own)})" if own else config.recipe
    return f"{text}; changed: {_settings(changed)}" if changed else text


def _differences(config: TrainConfig, other: TrainConfig) -> dict[str, Any]:
    """Return the settings that change a result and differ, with their value in `config`."""
    return {
        one.name: getattr(config, one.name)
        for one in fields(config)
        if one.name != "recipe"
        and not one.metadata["resumable"]
        and getattr(config, one.name) != getattr(other, one.name)
    }


def _settings(values: dict[str, Any]) -> str:
    words = []
    for name, value in values.items():
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        spoken = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(spoken if value else f"no {spoken}")
        else:
            words.append(f"{spoken} {shown}")
    return ", ".join(words)


def _steps(config: TrainConfig, plan: Plan) -> str:
    epochs = plan.total_steps / plan.steps_per_epoch
    return (
        f"{counted(plan.total_steps, 'step')} of {plan.batch_size:,} pairs, {epochs:.3g} times "
        f"{counted(plan.items, 'item')}; learning rate up to {peak_lr(config):.3g}"
    )


def _place(config: TrainConfig, world: World) -> str:
    device = world.device
    half = config.dtype == "bfloat16" or (config.dtype == "auto" and has_fast_bfloat16(device))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    if world.size > 1:
        return f"{world.size} × {name} ({config.parallel}) in {'bfloat16' if half else 'float32'}"
    threads = f" with {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    helpers = counted(config.workers, "worker") if hasattr(os, "fork") else "no worker"
    return f"{name}{threads} in {'bfloat16' if half else 'float32'}, {helpers} for data"
