"""The card of a trained model: what it started from and how it was trained."""

from dataclasses import fields

from longclip import __version__
from longclip.checkpoints.card import Card, source_name
from longclip.training.config import TrainConfig
from longclip.training.recipes import peak_lr

# Told above the settings, or where the data lay.
_NOT_TOLD = {"recipe", "model", "scratch", "data", "images"}


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
        if not (option.metadata["resumable"] or option.name in _NOT_TOLD)
        and getattr(config, option.name) != option.default
    )
    return Card(
        title=config.out.name or "model",
        introduction=f"A CLIP trained by longclip {__version__}.",
        facts=facts,
        sections={"Settings other than the defaults": settings} if settings else None,
    ).text()
