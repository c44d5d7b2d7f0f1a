"""Zero-shot classification: class names become prompts, the nearest class is the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from longclip.errors import UsageError
from longclip.evaluation.ranking import UnitRows

_PROMPTS_PER_CALL = 4096
_IMAGES_PER_BLOCK = 4096

# The 80 templates that OpenAI published for ImageNet with CLIP (github.com/openai/CLIP,
# notebooks/Prompt_Engineering_for_ImageNet.ipynb, MIT License). Long-CLIP uses them for every
# classification set, CIFAR included (supplement).
IMAGENET_TEMPLATES: tuple[str, ...] = tuple(
    (Path(__file__).parent / "imagenet_templates.txt").read_text(encoding="utf-8").splitlines()
)


def zero_shot_classifier(
    encode_text: Callable[[Sequence[str]], torch.Tensor | np.ndarray],
    class_names: Sequence[str],
    templates: Sequence[str],
) -> torch.Tensor:
    """Return one unit vector per class, float32 [C, D].

    Each template holds one `{}` for the class name. A class is the mean over its prompts. The
    paper's supplement says mean, then normalise; we normalise each prompt first, as OpenAI's
    notebook and the Long-CLIP scripts do, so that every prompt has the same weight.
    """
    if not class_names or not templates:
        raise UsageError("a zero-shot classifier needs at least one class and one template")
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(f"template {template!r} must hold exactly one {{}} for the class name")
    step = max(1, _PROMPTS_PER_CALL // len(templates))
    means = []
    for start in range(0, len(class_names), step):
        names = class_names[start : start + step]
        prompts = [template.replace("{}", name) for name in names for template in templates]
        unit = normalize(torch.as_tensor(encode_text(prompts)).float(), dim=-1)
        means.append(unit.view(len(names), len(templates), -1).mean(1))
    return normalize(torch.cat(means), dim=-1)


@dataclass(frozen=True)
class ZeroShotResult:
    """Top-1 accuracy as a fraction of 1; `confusion` is int64 [C, C], target by prediction.

    `targets` and `predictions`, int64 [N], are the classes of each image, on the CPU.
    """

    images: int
    classes: int
    accuracy: float
    confusion: torch.Tensor = field(repr=False, compare=False)
    targets: torch.Tensor = field(repr=False, compare=False)
    predictions: torch.Tensor = field(repr=False, compare=False)

    @classmethod
    def of(cls, targets: torch.Tensor, predictions: torch.Tensor, classes: int) -> "ZeroShotResult":
        """Count what was predicted; both are int64 [N], below `classes`."""
        pairs = targets * classes + predictions
        confusion = torch.bincount(pairs, minlength=classes**2).view(classes, -1)
        accuracy = int(confusion.trace()) / len(targets)
        return cls(len(targets), classes, accuracy, confusion, targets, predictions)

    @property
    def images_per_class(self) -> list[int]:
        counts: list[int] = self.confusion.sum(1).tolist()
        return counts

    @property
    def correct_per_class(self) -> list[int]:
        counts: list[int] = self.confusion.diagonal().tolist()
        return counts

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "classes": self.classes,
            "top1": self.accuracy,
            "images_per_class": self.images_per_class,
            "correct_per_class": self.correct_per_class,
        }


def top1_accuracy(
    image_embeddings: torch.Tensor, classifier: torch.Tensor, targets: torch.Tensor
) -> ZeroShotResult:
    """Measure how often the target class is strictly nearer by cosine than every other one.

    `image_embeddings` [N, D], `classifier` [C, D], `targets` int64 [N]. As in retrieval, a tie
    counts against the model: the prediction is then the rival.
    """
    images = UnitRows.of(image_embeddings, "image embeddings")
    classes = UnitRows.of(classifier.to(image_embeddings.device), "class embeddings")
    targets = targets.to(image_embeddings.device)
    if not len(images) or targets.dtype != torch.int64 or targets.shape != (len(images),):
        raise UsageError(
            f"targets must be int64 [{len(images)}], one class per image and at least one image, "
            f"not {targets.dtype} {list(targets.shape)}"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= len(classes):
        raise UsageError(
            f"targets hold {low if low < 0 else high}, outside the {len(classes)} classes"
        )

    class_rows = classes.rows(slice(None))
    predictions = []
    for start in range(0, len(images), _IMAGES_PER_BLOCK):
        block = slice(start, start + _IMAGES_PER_BLOCK)
        scores = images.rows(block) @ class_rows.T
        target = targets[block, None]
        target_score = scores.gather(1, target)
        rival_score, rival = scores.scatter(1, target, -torch.inf).max(1, keepdim=True)
        predictions.append(torch.where(target_score > rival_score, target, rival)[:, 0])
    return ZeroShotResult.of(targets.cpu(), torch.cat(predictions).cpu(), len(classes))
