"""Experiments by name: the models that a paper compares, how they are made, what is measured.

No torch here: the command line reads this to print its help.
"""

from dataclasses import dataclass, replace
from typing import Literal

from longclip.training.config import TrainConfig
from longclip.training.recipes import debias, direct, paper

ExperimentName = Literal["paper", "supplement-table3", "debias"]

SHAREGPT4V_FILE = "share-captioner_coco_lcs_sam_1246k_1107.json"
SHAREGPT4V_HUB = "Lin-Chen/ShareGPT4V"
SHAREGPT4V_PAIRS = 1_245_000
"""Rows of that file, but for the thousand that are measured on."""

SHAREGPT4V_IMAGES = (
    "train2017 of COCO (cocodataset.org), images.zip of liuhaotian/LLaVA-Pretrain on the hub, and "
    "000000.tar to 000050.tar of SA-1B (ai.meta.com/datasets/segment-anything-downloads, whose "
    "terms are to be agreed to)"
)
"""Where its pictures are, by its authors' page; pictures that are not there are left out."""


@dataclass(frozen=True)
class Arm:
    """One model of an experiment.

    Attributes:
        name: of its directory, and of its rows.
        recipe: how it is fine-tuned; None for what training starts from.
        published: its row among the published numbers, `{base}` for the image tower's size.
    """

    name: str
    recipe: TrainConfig | None
    published: str


@dataclass(frozen=True)
class Experiment:
    """What a paper compares.

    Attributes:
        title: in words, with the source.
        arms: its models, the one they start from first.
        benchmarks: what all of them are measured on.
    """

    title: str
    arms: tuple[Arm, ...]
    benchmarks: tuple[str, ...]


_CLIP = Arm("clip", None, "CLIP {base}")
_DIRECT = Arm("direct", direct(), "direct fine-tuning {base}")
_LONG_CLIP = Arm("long-clip", paper(), "Long-CLIP {base}")

EXPERIMENTS: dict[ExperimentName, Experiment] = {
    "paper": Experiment(
        "Tables 1 to 3 of Long-CLIP (Zhang et al., ECCV 2024)",
        (_CLIP, _DIRECT, _LONG_CLIP),
        (
            "sharegpt4v-1k",
            "urban1k",
            "coco-5k",
            "flickr30k-all",
            "imagenet",
            "imagenet-o",
            "imagenet-v2",
            "cifar10",
            "cifar100",
        ),
    ),
    # The paper's column on Urban-200 cannot be had, as that was never published.
    "supplement-table3": Experiment(
        "Table 3 of Long-CLIP's supplement: knowledge-preserved stretching and primary component "
        "matching, each with and without the other",
        (
            _DIRECT,
            Arm(
                "pcm",
                replace(direct(), pcm=True, recipe="custom"),
                "Long-CLIP {base}, PCM only",
            ),
            Arm(
                "stretching",
                replace(paper(), pcm=False, recipe="custom"),
                "Long-CLIP {base}, stretching only",
            ),
            _LONG_CLIP,
        ),
        ("imagenet", "cifar100", "coco-5k", "urban1k"),
    ),
    "debias": Experiment(
        "DeBias-CLIP beside Long-CLIP (Lavoie et al., CVPR 2026)",
        (_CLIP, _LONG_CLIP, Arm("debias-clip", debias(), "DeBias-CLIP {base}")),
        ("urban1k", "docci", "dci", "coco-5k", "flickr30k-all"),
    ),
}
"""Experiments by the name that `longclip reproduce` takes."""
