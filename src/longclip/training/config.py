"""What a training run is made of. No torch here: the command line reads this to print its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Texts = Literal["short", "long"]
Stretch = Literal["knowledge-preserved", "linear", "none"]
Precision = Literal["auto", "bfloat16", "float32"]


def option(help: str, default: Any) -> Any:
    """A field that is also a command-line option, with its help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on; written as `config.json` into its directory.

    The defaults are Table 4 of Long-CLIP's supplement; recipes set what makes them recipes.
    """

    recipe: str = option("Name of the recipe this configuration started from.", "custom")
    model: str = option(
        "What to start from: a model directory, a checkpoint file, a hub name, or `nano`.", "nano"
    )
    scratch: str = option(
        "Start from random weights instead: an architecture (nano, small, ViT-B/32, ViT-B/16 … "
        "ViT-bigG/14) or the path of a config.json.",
        "",
    )
    data: tuple[str, ...] = option(
        "Training data: `scenes`, a .parquet or .jsonl file, or a folder of pictures. "
        "Repeat the option to train on several at once.",
        ("scenes",),
    )
    image_column: str = option("The column with pictures, where it has an unusual name.", "")
    short_column: str = option("The column with short captions, likewise.", "")
    long_column: str = option("The column with long descriptions, likewise.", "")
    out: Path = option("Directory of the run.", Path("runs/train"))
    limit: int = option("Use only this many first items of the data; 0 for all.", 0)

    # What is learned.
    texts: Texts = option("Which texts images are matched with.", "long")
    join_short: int = option("Join up to this many short captions into one short text.", 1)
    stretch: Stretch = option("How the position table is lengthened first.", "none")
    context_length: int = option("Tokens after stretching.", 248)
    keep: int = option("First positions that stretching keeps, and training leaves frozen.", 20)
    pcm: bool = option("Match the primary components of images with short texts too.", False)
    pcm_weight: float = option("Weight of that second loss.", 1.0)
    pcm_components: int = option("Principal directions the coarse image feature keeps.", 32)
    pcm_groups: int = option("Split the batch into this many parts with a PCA of their own.", 1)
    label_smoothing: float = option("Share of the target spread over all pairs.", 0.0)
    logit_scale: float = option("Inverse temperature to start from; 0 keeps the model's.", 0.0)

    # How it is learned.
    epochs: float = option("Passes over the data.", 1.0)
    steps: int = option("Optimiser steps, in place of epochs; 0 to count by epochs.", 0)
    batch_size: int = option("Pairs per step.", 1024)
    lr: float = option(
        "Peak learning rate; 0 for the recipe's 1e-4 per 1,024 pairs, scaled to the batch size.",
        0.0,
    )
    text_lr_scale: float = option("Learning rate of the text tower over `lr`.", 1.0)
    position_lr_scale: float = option("Learning rate of the position table over `lr`.", 1.0)
    warmup_steps: int = option(
        "Steps of linear warm-up, at most a fifth of the run; then cosine to zero.", 200
    )
    weight_decay: float = option("Decay of weight matrices; nothing else is decayed.", 1e-2)
    beta1: float = option("AdamW's first moment decay.", 0.9)
    beta2: float = option("AdamW's second moment decay.", 0.999)
    eps: float = option("AdamW's epsilon.", 1e-8)
    crop_scale: float = option(
        "Smallest share of a picture's side that a random crop keeps; 1 for no augmentation.", 1.0
    )
    seed: int = option("Decides initial weights, batch order, texts and crops.", 0)

    # Where and how it runs.
    precision: Precision = option(
        "bfloat16 arithmetic with float32 weights, or all float32.", "auto"
    )
    device: str = option("cpu, cuda, cuda:1 …", "cpu")
    workers: int = option("Processes that decode pictures and tokenize texts.", 2)
    cache_gb: float = option("Memory for decoded pictures; beyond it they are decoded again.", 4.0)
    checkpoint_every: int = option("Steps between checkpoints.", 100)
    log_every: int = option("Steps between lines of metrics.", 10)
    max_bad_fraction: float = option("Share of unusable items at which the run stops.", 0.01)
    activation_checkpointing: bool = option("Recompute activations to save memory.", False)

    def __post_init__(self) -> None:
        for name, lowest in (
            ("batch_size", 2),
            ("join_short", 1),
            ("checkpoint_every", 1),
            ("log_every", 1),
            ("steps", 0),
            ("limit", 0),
            ("workers", 0),
            ("warmup_steps", 0),
        ):
            if getattr(self, name) < lowest:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} is {getattr(self, name)}, must be at least {lowest}")
        if not 0 < self.crop_scale <= 1:
            raise ValueError(f"--crop-scale is {self.crop_scale}, must be above 0 and at most 1")
        if self.pcm and self.texts == "short":
            raise ValueError("--pcm needs long texts too; take --texts long")
        if not self.steps and self.epochs <= 0:
            raise ValueError("give --steps or --epochs, or the run has no end")
