"""The model that a run starts from, and which of its weights learn."""

from typing import cast

import torch

from longclip.errors import UsageError
from longclip.model import CLIP, load
from longclip.model.config import architecture
from longclip.model.pretrained import place
from longclip.model.stretch import stretch
from longclip.spec import POSITION_TABLE, Tower
from longclip.training.config import TrainConfig
from longclip.training.lora import add_lora

_LEARNED = {
    "image": ("vision_model.", "visual_projection.", "logit_scale"),
    "text": ("text_model.", "text_projection.", "logit_scale"),
    "positions": (POSITION_TABLE,),
}


def original_model(config: TrainConfig) -> CLIP:
    """Load the model that a run starts from, unchanged, or draw random weights.

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
    """Load that model, stretch it as the run wants it, and place it on its device."""
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
            parameter.requires_grad_(name.startswith(_LEARNED[config.learn]))
    if config.lora_rank:
        assert config.learn != "positions"
        # Beside low-rank changes only text positions and the temperature learn.
        learned = [p for p in (model.logit_scale, position_table(model)) if p.requires_grad]
        model.requires_grad_(False)
        # In this order the matrices are drawn from the generator: another is another run.
        both: tuple[Tower, ...] = ("image", "text")
        towers = both if config.learn == "all" else (config.learn,)
        add_lora(model, config.lora_rank, config.lora_alpha, towers=towers)
        for parameter in learned:
            parameter.requires_grad_()
    if config.compile:
        for tower in (model.text_model, model.vision_model):
            for layer in tower.encoder.layers:
                layer.compile(dynamic=True)


def position_table(model: CLIP) -> torch.nn.Parameter:
    """Return the text position embeddings, [context length, width]."""
    return cast(torch.nn.Parameter, model.text_model.embeddings.position_embedding.weight)
