"""What a run starts from: its model, its data, its plan."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch

from longclip._hardware import has_fast_bfloat16
from longclip.data import Columns
from longclip.data.captions import TextPolicy
from longclip.data.collection import Collection, blocks_of
from longclip.data.mixture import Mixture
from longclip.data.open import open_training_data
from longclip.data.shard_cache import ShardCache
from longclip.errors import UsageError
from longclip.model import CLIP, load
from longclip.model.config import architecture
from longclip.model.pretrained import place
from longclip.model.stretch import stretch
from longclip.spec import POSITION_TABLE, STOCK_CONTEXT, Tower
from longclip.training.config import TrainConfig
from longclip.training.plan import Plan, make_plan
from longclip.training.processes import World
from longclip.training.stream import PixelStore, Reading

_SIDES = {
    "image": ("vision_model.", "visual_projection.", "logit_scale"),
    "text": ("text_model.", "text_projection.", "logit_scale"),
    "positions": (POSITION_TABLE,),
}


def original_model(config: TrainConfig) -> CLIP:
    """The model that a run starts from, as it is.

    Raises:
        ValueError: if it cannot be loaded or is one tower alone.
    """
    torch.manual_seed(config.seed)
    model = CLIP(architecture(config.scratch)) if config.scratch else load(config.model)
    if not model.config.whole:
        raise UsageError(
            f"{config.model} is one tower of a CLIP alone; training matches images with texts and "
            "takes both"
        )
    return model


def initial_model(config: TrainConfig, device: torch.device | str = "cpu") -> CLIP:
    """That model lengthened as the run wants it, on its device."""
    model = original_model(config)
    if config.stretch != "none":
        model = stretch(model, config.context_length, config.keep, config.stretch)
    if config.logit_scale:
        with torch.no_grad():
            model.logit_scale.fill_(torch.tensor(config.logit_scale).log())
    return place(model, device)


def choose_what_learns(model: CLIP, config: TrainConfig) -> None:
    """Freeze all that `config.learn` leaves out, and weights that low-rank changes stand in for."""
    if config.learn != "all":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(_SIDES[config.learn]))
    if config.lora_rank:
        _add_low_rank(model, config)
    if config.compile:
        for tower in (model.text_model, model.vision_model):
            for layer in tower.encoder.layers:
                layer.compile(dynamic=True)


def _add_low_rank(model: CLIP, config: TrainConfig) -> None:
    """Beside the low-rank changes only text positions and the temperature learn."""
    from longclip.training.lora import add_lora

    learned = [p for p in (model.logit_scale, position_table(model)) if p.requires_grad]
    model.requires_grad_(False)
    assert config.learn != "positions"
    both: tuple[Tower, ...] = ("image", "text")
    towers = both if config.learn == "all" else (config.learn,)
    add_lora(model, config.lora_rank, config.lora_alpha, towers=towers)
    for parameter in learned:
        parameter.requires_grad_()


def position_table(model: CLIP) -> torch.nn.Parameter:
    """The text positions."""
    return cast(torch.nn.Parameter, model.text_model.embeddings.position_embedding.weight)


def open_store(config: TrainConfig, model: CLIP, world: World) -> PixelStore:
    """The data of a run; the processes of one machine share the memory for pictures."""
    if not world.first:
        # Shards are scanned and tables converted once; the others find them done.
        world.wait()
    try:
        collection = _open(config)
    finally:
        if world.first:
            world.wait()
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return PixelStore(collection, model.preprocess, config.cache_gb / beside)


def _open(config: TrainConfig) -> Collection:
    columns = Columns(
        image=config.image_column or None,
        short=config.short_column or None,
        long=config.long_column or None,
    )
    return open_training_data(
        config.data,
        columns=columns,
        images=config.images,
        cache=ShardCache(
            Path(config.shard_cache) if config.shard_cache else None, config.shard_cache_gb
        ),
    )


def plan_of(config: TrainConfig, collection: Collection) -> Plan:
    """Which items make up which step."""
    items = min(len(collection), config.limit) if config.limit else len(collection)
    return make_plan(
        items=items,
        batch_size=config.batch_size,
        epochs=config.epochs,
        steps=config.steps,
        seed=config.seed,
        blocks=blocks_of(collection),
        sources=collection.parts if isinstance(collection, Mixture) else (),
    )


def reading_of(config: TrainConfig, model: CLIP) -> Reading:
    """How pairs are read: short texts alone as every CLIP reads them, beside long ones as those."""
    length = model.context_length
    return Reading(
        short=length if config.texts == "long" else min(STOCK_CONTEXT, length),
        long=length,
        policy=TextPolicy(config.short_texts, config.join_short, config.positives),
        pad_prefix=config.pad_prefix,
        crop_scale=config.crop_scale,
        seed=config.seed,
    )


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 arithmetic where it is asked for, or "auto" finds hardware for it."""
    wanted = config.dtype == "bfloat16" or (config.dtype == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()
