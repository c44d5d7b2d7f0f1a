"""Configuration of a training run: each option once, with its help, default and bounds.

No torch here: the command line reads this to print its help.
"""

from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Literal

from longclip.errors import UsageError
from longclip.options import (
    Dtype,
    bad_fraction_option,
    check_options,
    device_option,
    images_option,
    option,
)
from longclip.spec import KEEP, MAX_WORKERS, STOCK_CONTEXT, LongTexts, ShortTexts, StretchMethod

Texts = Literal["short", "long"]
Stretch = StretchMethod | Literal["none"]
PairLoss = Literal["auto", "softmax", "sigmoid"]
Learn = Literal["all", "image", "text", "positions"]
Parallel = Literal["ddp", "fsdp"]

LONG_CLIP = "long-clip"
"""Name of the objective of all recipes."""

OBJECTIVE_NAMES = (LONG_CLIP,)
"""Names of our objectives, which are in `longclip.training.objectives`."""

# The panels of `longclip train --help`.
_data = partial(option, group="Data")
_texts = partial(option, group="Texts")
_method = partial(option, group="Method")
_optimisation = partial(option, group="Optimisation")
_running = partial(option, group="Running")
_watching = partial(option, group="Watching")


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on; written as `config.json` into its directory.

    The defaults are Table 4 of Long-CLIP's supplement (Zhang et al., ECCV 2024); recipes set what
    makes them recipes. Options marked `resumable` may change when a run is resumed.
    """

    recipe: str = option("Name of the recipe this configuration started from.", "custom")
    model: str = option(
        "What to start from: a model directory, a checkpoint file, a hub or short name, or `nano`.",
        "nano",
    )
    scratch: str = option(
        "Start from random weights instead: an architecture (nano, small, ViT-B/32, ViT-B/16 … "
        "ViT-bigG/14) or the path of a config.json, and what lies beside it: preprocessing, "
        "tokenizer.",
        "",
    )
    data: tuple[str, ...] = _data(
        "Training data: `scenes`, a .csv, .jsonl or .parquet file, a folder of pictures, tar "
        "shards (a glob, a brace range or a URL), a hub data set, or a mixture.toml. Repeat the "
        "option to train on several at once.",
        ("scenes",),
    )
    images: tuple[Path, ...] = images_option(group="Data")
    image_column: str = _data("The column with pictures, where it has an unusual name.", "")
    short_column: str = _data("The column with short captions, likewise.", "")
    long_column: str = _data("The column with long descriptions, likewise.", "")
    out: Path = option("Directory of the run.", Path("runs/train"), resumable=True)
    shard_cache: str = _data(
        "Folder where shards from elsewhere are kept; the user's cache folder where empty.",
        "",
        resumable=True,
    )
    shard_cache_gb: float = _data("How much of them is kept.", 100.0, least=0, resumable=True)
    limit: int = _data("Use only this many first items of the data; 0 for all.", 0, least=0)
    holdout: float = _data(
        "Keep so many pictures of the data, or below 1 such a share of them, out of training and "
        "measure on them, as on --evaluate; 0 for none. Chosen by the seed.",
        0.0,
        least=0,
    )

    texts: Texts = _texts("Which texts images are matched with.", "long")
    short_texts: ShortTexts = _texts(
        "Where short texts come from: captions that are given (else the first sentence), always "
        "the first sentence of the long text, a random part of it without its first sentence, or "
        "any of its sentences.",
        "given",
    )
    long_texts: LongTexts = _texts(
        "Long texts whole, or in each step any number of their sentences: subsampled in their "
        "order, shuffled in any.",
        "whole",
    )
    join_short: int = _texts("Join up to this many short captions into one short text.", 1, least=1)
    positives: int = _texts(
        "Short texts per image and step, all of them its positives.", 1, least=1
    )
    pad_prefix: int = _texts(
        "Up to this many PAD tokens before each short text, at random.", 0, least=0
    )
    stretch: Stretch = _method("How the position table is lengthened first.", "none")
    context_length: int = _method(
        "Tokens after stretching; 0 for what suits the model: 248 of 77, 196 of 64, 128 of 32.",
        0,
        least=0,
    )
    keep: int = _method("First positions that stretching keeps, and training leaves frozen.", KEEP)
    objective: str = _method(
        f"The loss: {LONG_CLIP}, which the options below shape, or one of an installed package.",
        LONG_CLIP,
    )
    long_weight: float = _method("Weight of the loss between images and long texts.", 1.0, least=0)
    pcm: bool = _method("Match the primary components of images with short texts too.", False)
    pcm_weight: float = _method("Weight of that second loss.", 1.0, least=0)
    short_weight: float = _method(
        "Weight of matching images as they are with short texts too; not with --pcm, which matches "
        "their primary components.",
        0.0,
        least=0,
    )
    pcm_components: int = _method(
        "Principal directions the coarse image feature keeps.", 32, least=1
    )
    pcm_groups: int = _method(
        "Split the batch into this many parts with a PCA of their own.", 1, least=1
    )
    text_pcm_weight: float = _method(
        "Weight of matching images with the principal components of long texts too.", 0.0, least=0
    )
    text_pcm_variance: float = _method(
        "Share of the variance of a batch's long texts that these components keep.",
        0.85,
        above=0,
        below=1,
    )
    monotonicity_weight: float = _method(
        "Weight of a loss where the long text fits its image less than its parts do: the short "
        "texts that are matched, and its principal components.",
        0.0,
        least=0,
    )
    long_loss: PairLoss = _method(
        "Loss of images and long texts: auto is the one that the model was trained with, sigmoid "
        "where it has a bias for that (SigLIP), else softmax.",
        "auto",
    )
    short_loss: PairLoss = _method("Loss of the short branch, likewise.", "auto")
    label_smoothing: float = _method(
        "Share of the target spread over all pairs, in softmax losses.", 0.0, least=0, most=1
    )
    margin: float = _method(
        "Hard-negative margin of a softmax loss: how much similar texts repel each other, long "
        "ones if there are.",
        0.0,
        least=0,
    )
    distill_weight: float = _method(
        "Weight of keeping the short-text similarities of the model that training starts from.",
        0.0,
        least=0,
    )
    long_teacher: str = _method(
        "A second model to learn from: one that reads long texts, for --long-distill-weight.",
        "",
        resumable=True,
    )
    long_distill_weight: float = _method(
        "Weight of taking over that model's similarities of long texts.", 0.0, least=0
    )
    logit_scale: float = _method(
        "Inverse temperature to start from; 0 keeps the model's.", 0.0, least=0
    )
    learn: Learn = _method("What learns: all, one tower alone, or the text positions alone.", "all")
    lora_rank: int = _method(
        "Learn low-rank changes of this rank instead of weights; 0 not.", 0, least=0
    )
    lora_alpha: float = _method(
        "Scale of low-rank changes: they count alpha / rank.", 16.0, above=0
    )
    ema_decay: float = _method(
        "End with a moving average of the weights over all steps, with this decay; 0 not.",
        0.0,
        least=0,
        below=1,
    )
    swa_share: float = _method(
        "End with the average of the weights after each step of this last share of the run; 0 not.",
        0.0,
        least=0,
        most=1,
    )
    wise_ft: float = _method(
        "At the end, average with the stretched model that training started from; its share.",
        0.0,
        least=0,
        most=1,
    )

    epochs: float = _optimisation("Passes over the data.", 1.0, least=0)
    steps: int = _optimisation(
        "Optimiser steps, in place of epochs; 0 to count by epochs.", 0, least=0
    )
    batch_size: int = _optimisation("Pairs per step, over all processes.", 1024, least=2)
    neighbours: int = _optimisation(
        "Make batches of groups of this many items whose texts are alike, as the model embeds "
        "them: harder negatives. 0 for any items.",
        0,
        least=0,
    )
    neighbours_every: int = _optimisation(
        "Steps after which new groups are made, with the model as it is then; 0 for those of the "
        "start alone.",
        0,
        least=0,
    )
    lr: float = _optimisation(
        "Peak learning rate; 0 for the recipe's 1e-4 per 1,024 pairs, scaled to the batch size.",
        0.0,
        least=0,
    )
    text_lr_scale: float = _optimisation("Learning rate of the text tower over `lr`.", 1.0, least=0)
    position_lr_scale: float = _optimisation(
        "Learning rate of the position table over `lr`.", 1.0, least=0
    )
    warmup_steps: int = _optimisation(
        "Steps of linear warm-up, at most a fifth of the run; then cosine to zero.", 200, least=0
    )
    weight_decay: float = _optimisation(
        "Decay of weight matrices; nothing else is decayed.", 1e-2, least=0
    )
    beta1: float = _optimisation("AdamW's first moment decay.", 0.9, least=0, below=1)
    beta2: float = _optimisation("AdamW's second moment decay.", 0.999, least=0, below=1)
    eps: float = _optimisation("AdamW's epsilon.", 1e-8, above=0)
    clip_gradient: float = _optimisation(
        "Largest norm of a step's gradient; 0 for no limit.", 0.0, least=0
    )
    crop_scale: float = _optimisation(
        "Smallest share of a picture's side that a random crop keeps; 1 for no augmentation.",
        1.0,
        above=0,
        most=1,
    )
    seed: int = _optimisation("Decides initial weights, batch order, texts and crops.", 0, least=0)

    dtype: Dtype = _running(
        "What activations are computed in, with float32 weights: auto is bfloat16 where the device "
        "is fast at it, else float32.",
        "auto",
    )
    device: str = device_option(
        "Under torchrun each process takes its own.", resumable=True, group="Running"
    )
    parallel: Parallel = _running(
        "Under torchrun: whole weights in every process (ddp) or a share in each (fsdp).",
        "ddp",
        resumable=True,
    )
    micro_batch: int = _running(
        "Pairs whose activations are in memory at once; 0 for all of a process. Less memory, a "
        "third more time, the same gradients.",
        0,
        least=0,
        resumable=True,
    )
    logit_rows: int = _running(
        "Rows of the similarity matrix in memory at once; 0 for all.", 0, least=0, resumable=True
    )
    activation_checkpointing: bool = _running(
        "Recompute activations to save memory.", False, resumable=True
    )
    compile: bool = _running("Compile the layers with torch.compile.", False, resumable=True)
    workers: int = _running(
        "Processes that decode pictures and tokenize texts, for each training process.",
        2,
        least=0,
        most=MAX_WORKERS,
        resumable=True,
    )
    cache_gb: float = _running(
        "Memory for decoded pictures; beyond it they are decoded again.",
        4.0,
        least=0,
        resumable=True,
    )
    max_bad_fraction: float = bad_fraction_option(resumable=True, group="Running")
    checkpoint_every: int = _running("Steps between checkpoints.", 100, least=1, resumable=True)
    keep_checkpoints: int = _running(
        "How many of the last checkpoints are kept.", 2, least=1, resumable=True
    )

    log_every: int = _watching("Steps between lines of metrics.", 10, least=1, resumable=True)
    evaluate: tuple[str, ...] = _watching(
        "Measure on this while training: whatever `longclip eval` takes. Repeatable.",
        (),
        resumable=True,
    )
    evaluate_every: int = _watching(
        "Steps between those measurements; 0 for only before the first step and at the end.",
        0,
        least=0,
        resumable=True,
    )
    keep_best: str = _watching(
        "End with the model of the step that had the highest of this measurement, such as "
        "`long T2I R@1`, in place of the last step's.",
        "",
    )
    tensorboard: bool = _watching(
        "Write metrics for TensorBoard too, into OUT/tensorboard.", False, resumable=True
    )
    wandb: str = _watching(
        "Send metrics to this project on Weights & Biases too.", "", resumable=True
    )

    def __post_init__(self) -> None:
        """Check the options, each by itself and then together.

        Raises:
            UsageError: naming the option and a value that works.
        """
        check_options(self)
        if self.dtype == "float16":
            raise UsageError(
                "--dtype float16 overflows in training without scaled losses; take bfloat16"
            )
        if self.pcm and self.texts == "short":
            raise UsageError("--pcm needs long texts too; take --texts long")
        if self.text_pcm_weight and self.texts == "short":
            raise UsageError("--text-pcm-weight is of long texts; take --texts long")
        if self.monotonicity_weight and not self.parts_of_long:
            raise UsageError(
                "--monotonicity-weight compares long texts with parts of them; give it some: "
                "--pcm, --short-weight or --text-pcm-weight"
            )
        if self.long_texts != "whole" and self.texts == "short":
            raise UsageError(f"--long-texts {self.long_texts} needs --texts long")
        if self.monotonicity_weight and self.matches_short and self.long_texts != "whole":
            raise UsageError(
                "--monotonicity-weight holds a long text against its short ones, which may be of "
                f"sentences that --long-texts {self.long_texts} leaves out; take whole"
            )
        if (self.pcm or self.text_pcm_weight) and self.batch_size % self.pcm_groups:
            raise UsageError(
                f"--pcm-groups {self.pcm_groups} does not divide --batch-size {self.batch_size}"
            )
        if self.short_weight and (self.pcm or self.texts == "short"):
            raise UsageError(
                "--short-weight is of a loss with short texts beside long ones, without --pcm; the "
                "weight with that is --pcm-weight, and --texts short has no other loss"
            )
        if self.positives > 1 and not self.reads_short:
            raise UsageError(
                "--positives needs a loss with short texts: --pcm, --short-weight, --texts short "
                "or --distill-weight"
            )
        if self.short_loss == "sigmoid" and not self.matches_short:
            raise UsageError(
                "--short-loss needs short texts to be matched with: --pcm, --short-weight or "
                "--texts short"
            )
        if self.long_loss == "sigmoid" and self.texts == "short":
            raise UsageError("--long-loss needs long texts to be matched with: --texts long")
        with_margin = self.long_loss if self.texts == "long" else self.short_loss
        if self.margin and with_margin == "sigmoid":
            raise UsageError(
                f"--margin {self.margin:g} is of softmax losses, and {self.texts} texts have the "
                f"sigmoid loss; take --margin 0 or --{self.texts}-loss softmax"
            )
        if bool(self.long_teacher) != bool(self.long_distill_weight):
            raise UsageError(
                "--long-teacher and --long-distill-weight belong together: the model that is "
                "learned from, and how much that counts"
            )
        if self.long_teacher and self.texts == "short":
            raise UsageError("--long-teacher needs long texts; take --texts long")
        if self.neighbours == 1:
            raise UsageError("--neighbours 1 is no group; take 2 or more, or 0 for any items")
        if self.neighbours and self.batch_size % self.neighbours:
            raise UsageError(
                f"--batch-size {self.batch_size} is not made of groups of --neighbours "
                f"{self.neighbours}; take a multiple, such as "
                f"{-(-self.batch_size // self.neighbours) * self.neighbours}"
            )
        if self.neighbours_every and not self.neighbours:
            raise UsageError(
                "--neighbours-every makes groups anew; say how large they are: --neighbours 8"
            )
        if not self.steps and self.epochs <= 0:
            raise UsageError("give --steps or --epochs, or the run has no end")
        # Where no length is named the model has no more than CLIP's.
        most = self.context_length or STOCK_CONTEXT
        if self.stretch == "knowledge-preserved" and self.keep >= most:
            named = (
                f"--context-length {most}" if self.context_length else f"a model's {most} tokens"
            )
            raise UsageError(
                f"--keep {self.keep} leaves nothing of {named} to stretch; the paper keeps {KEEP}"
            )
        if self.lora_rank and self.learn == "positions":
            raise UsageError(
                "--lora-rank changes weight matrices, --learn positions freezes them; drop one"
            )
        if self.ema_decay and self.swa_share:
            raise UsageError("--ema-decay and --swa-share are two averages; leave out one")
        if self.holdout >= 1 and self.holdout % 1:
            raise UsageError(
                f"--holdout {self.holdout:g} is no number of pictures; take a whole one, or a "
                "share below 1"
            )
        if self.evaluate_every and not (self.evaluate or self.holdout):
            raise UsageError(
                "--evaluate-every needs data to measure on: --evaluate scenes/val or --holdout 0.05"
            )
        if self.keep_best and not self.evaluate_every:
            raise UsageError("--keep-best needs measurements on the way: --evaluate-every 100")
        if self.keep_best and self.wise_ft:
            raise UsageError(
                "--keep-best compares models as they are in training, --wise-ft changes them at "
                "the end; leave out one"
            )

    def with_losses_of(self, *, logit_bias: bool) -> "TrainConfig":
        """Return the configuration with the losses of a model where none are stated.

        Args:
            logit_bias: whether the model has a bias of all similarities, for sigmoid losses.

        Raises:
            UsageError: if they do not go with other options.
        """
        own: PairLoss = "sigmoid" if logit_bias else "softmax"
        long, short = self.long_loss, self.short_loss
        if long == "auto" and self.texts == "long":
            long = own
        if short == "auto" and self.matches_short:
            short = own
        return replace(self, long_loss=long, short_loss=short)

    @property
    def matches_short(self) -> bool:
        """Return whether images are matched with short texts, which distillation too reads."""
        return self.texts == "short" or self.pcm or self.short_weight > 0

    @property
    def parts_of_long(self) -> bool:
        """Return whether parts of long texts are matched beside them."""
        return self.texts == "long" and (self.matches_short or self.text_pcm_weight > 0)

    @property
    def reads_short(self) -> bool:
        """Return whether short texts are embedded at all."""
        if self.objective != LONG_CLIP:  # it may want all that there is
            return True
        return self.matches_short or self.distill_weight > 0


def resumable_options() -> set[str]:
    """Return the options that a resume may change: they change no result but by rounding."""
    return {one.name for one in fields(TrainConfig) if one.metadata["resumable"]}


RENAMED_OPTIONS = {"precision": "dtype"}
"""Names of options in configurations that earlier versions wrote, and their names now."""
