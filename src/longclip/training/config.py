"""What a training run is made of. No torch here: the command line reads this to print its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from longclip.errors import UsageError
from longclip.spec import LONG_CONTEXT, ShortTexts, StretchMethod

Texts = Literal["short", "long"]
Stretch = StretchMethod | Literal["none"]
Precision = Literal["auto", "bfloat16", "float32"]
ShortLoss = Literal["softmax", "sigmoid"]
Learn = Literal["all", "image", "text", "positions"]
Parallel = Literal["ddp", "fsdp"]


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
        "Training data: `scenes`, a .parquet, .json or .jsonl file, a folder of pictures, tar "
        "shards (a glob, a brace range or a URL), a hub data set, or a mixture.toml. Repeat the "
        "option to train on several at once.",
        ("scenes",),
    )
    images: tuple[Path, ...] = option(
        "Folders that picture paths in the data are relative to; the data's own otherwise. "
        "Repeatable.",
        (),
    )
    image_column: str = option("The column with pictures, where it has an unusual name.", "")
    short_column: str = option("The column with short captions, likewise.", "")
    long_column: str = option("The column with long descriptions, likewise.", "")
    out: Path = option("Directory of the run.", Path("runs/train"))
    shard_cache: str = option(
        "Folder where shards from elsewhere are kept; the user's cache folder where empty.", ""
    )
    shard_cache_gb: float = option("How much of them is kept.", 100.0)
    limit: int = option("Use only this many first items of the data; 0 for all.", 0)

    # What is learned.
    texts: Texts = option("Which texts images are matched with.", "long")
    short_texts: ShortTexts = option(
        "Where short texts come from: captions that are given (else the first sentence), always "
        "the first sentence of the long text, or a random part of it without its first sentence.",
        "given",
    )
    join_short: int = option("Join up to this many short captions into one short text.", 1)
    positives: int = option("Short texts per image and step, all of them its positives.", 1)
    pad_prefix: int = option("Up to this many PAD tokens before each short text, at random.", 0)
    stretch: Stretch = option("How the position table is lengthened first.", "none")
    context_length: int = option("Tokens after stretching.", LONG_CONTEXT)
    keep: int = option("First positions that stretching keeps, and training leaves frozen.", 20)
    long_weight: float = option("Weight of the loss between images and long texts.", 1.0)
    pcm: bool = option("Match the primary components of images with short texts too.", False)
    pcm_weight: float = option("Weight of that second loss.", 1.0)
    pcm_components: int = option("Principal directions the coarse image feature keeps.", 32)
    pcm_groups: int = option("Split the batch into this many parts with a PCA of their own.", 1)
    short_loss: ShortLoss = option("Loss of the short branch.", "softmax")
    label_smoothing: float = option("Share of the target spread over all pairs.", 0.0)
    margin: float = option(
        "Hard-negative margin: how much similar texts repel each other, long ones if there are.",
        0.0,
    )
    distill_weight: float = option(
        "Weight of keeping the short-text similarities of the model that training starts from.", 0.0
    )
    logit_scale: float = option("Inverse temperature to start from; 0 keeps the model's.", 0.0)
    learn: Learn = option("What learns: all, one tower alone, or the text positions alone.", "all")
    lora_rank: int = option("Learn low-rank changes of this rank instead of weights; 0 not.", 0)
    lora_alpha: float = option("Scale of low-rank changes: they count alpha / rank.", 16.0)
    wise_ft: float = option(
        "At the end, average with the stretched model that training started from; its share.", 0.0
    )

    # How it is learned.
    epochs: float = option("Passes over the data.", 1.0)
    steps: int = option("Optimiser steps, in place of epochs; 0 to count by epochs.", 0)
    batch_size: int = option("Pairs per step, over all processes.", 1024)
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
    clip_gradient: float = option("Largest norm of a step's gradient; 0 for no limit.", 0.0)
    crop_scale: float = option(
        "Smallest share of a picture's side that a random crop keeps; 1 for no augmentation.", 1.0
    )
    seed: int = option("Decides initial weights, batch order, texts and crops.", 0)

    # Where and how it runs.
    precision: Precision = option(
        "bfloat16 arithmetic with float32 weights, or all float32.", "auto"
    )
    device: str = option(
        "auto, cpu, cuda, cuda:1 …; under torchrun each process takes its own.", "auto"
    )
    parallel: Parallel = option(
        "Under torchrun: whole weights in every process (ddp) or a share in each (fsdp).", "ddp"
    )
    micro_batch: int = option(
        "Pairs whose activations are in memory at once; 0 for all of a process. Less memory, a "
        "third more time, the same gradients.",
        0,
    )
    logit_rows: int = option("Rows of the similarity matrix in memory at once; 0 for all.", 0)
    activation_checkpointing: bool = option("Recompute activations to save memory.", False)
    compile: bool = option("Compile the layers with torch.compile.", False)
    workers: int = option(
        "Processes that decode pictures and tokenize texts, for each training process.", 2
    )
    cache_gb: float = option("Memory for decoded pictures; beyond it they are decoded again.", 4.0)
    max_bad_fraction: float = option("Share of unusable items at which the run stops.", 0.01)
    checkpoint_every: int = option("Steps between checkpoints.", 100)
    keep_checkpoints: int = option("How many of the last checkpoints are kept.", 2)

    # Watching it.
    log_every: int = option("Steps between lines of metrics.", 10)
    evaluate: tuple[str, ...] = option(
        "Measure on this while training: whatever `longclip eval` takes. Repeatable.", ()
    )
    evaluate_every: int = option(
        "Steps between those measurements; 0 for only before the first step and at the end.", 0
    )
    tensorboard: bool = option("Write metrics for TensorBoard too, into OUT/tensorboard.", False)
    wandb: str = option("Send metrics to this project on Weights & Biases too.", "")

    def __post_init__(self) -> None:
        for name, lowest in _LOWEST.items():
            if getattr(self, name) < lowest:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is {getattr(self, name)}, must be at least {lowest}")
        for name in ("wise_ft", "label_smoothing", "max_bad_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is {getattr(self, name)}, must be from 0 to 1")
        if not 0 < self.crop_scale <= 1:
            raise UsageError(f"--crop-scale is {self.crop_scale}, must be above 0 and at most 1")
        self._check_together()

    def _check_together(self) -> None:
        if self.pcm and self.texts == "short":
            raise UsageError("--pcm needs long texts too; take --texts long")
        if self.pcm and self.batch_size % self.pcm_groups:
            raise UsageError(
                f"--pcm-groups {self.pcm_groups} does not divide --batch-size {self.batch_size}"
            )
        if self.positives > 1 and not self.reads_short:
            raise UsageError(
                "--positives needs a loss with short texts: --pcm, --texts short or "
                "--distill-weight"
            )
        if self.short_loss == "sigmoid" and not (self.pcm or self.texts == "short"):
            raise UsageError(
                "--short-loss needs short texts to be matched with: --pcm or --texts short"
            )
        if not self.steps and self.epochs <= 0:
            raise UsageError("give --steps or --epochs, or the run has no end")
        if self.lora_rank and self.learn == "positions":
            raise UsageError(
                "--lora-rank changes weight matrices, --learn positions freezes them; drop one"
            )
        if self.evaluate_every and not self.evaluate:
            raise UsageError("--evaluate-every needs data to measure on: --evaluate scenes/val")

    @property
    def reads_short(self) -> bool:
        """Whether short texts are embedded at all."""
        return self.texts == "short" or self.pcm or self.distill_weight > 0


HOW_IT_RUNS = frozenset(
    {
        "out",
        "device",
        "parallel",
        "micro_batch",
        "logit_rows",
        "activation_checkpointing",
        "compile",
        "workers",
        "cache_gb",
        "shard_cache",
        "shard_cache_gb",
        "max_bad_fraction",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
        "evaluate",
        "evaluate_every",
        "tensorboard",
        "wandb",
    }
)
"""Options that change no result but by rounding: they may differ between a start and a resume."""

_LOWEST = {
    "batch_size": 2,
    "join_short": 1,
    "positives": 1,
    "pcm_groups": 1,
    "pcm_components": 1,
    "pad_prefix": 0,
    "checkpoint_every": 1,
    "keep_checkpoints": 1,
    "log_every": 1,
    "evaluate_every": 0,
    "steps": 0,
    "limit": 0,
    "workers": 0,
    "warmup_steps": 0,
    "micro_batch": 0,
    "logit_rows": 0,
    "lora_rank": 0,
    "margin": 0,
    "distill_weight": 0,
    "clip_gradient": 0,
    "logit_scale": 0,
    "lr": 0,
    "weight_decay": 0,
}
