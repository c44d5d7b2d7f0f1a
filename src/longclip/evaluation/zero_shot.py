"""Zero-shot classification: class names become prompts, the nearest class is the answer.

Prompt templates for zero-shot classification: protocol data, word for word.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from longclip.errors import UsageError
from longclip.evaluation.ranking import UnitRows

_PROMPTS_PER_CALL = 4096
_IMAGES_PER_BLOCK = 4096


def zero_shot_classifier(
    encode_text: Callable[[Sequence[str]], torch.Tensor | np.ndarray],
    class_names: Sequence[str],
    templates: Sequence[str],
) -> torch.Tensor:
    """One unit vector per class, float32 [C, D].

    Each template holds one `{}` for the class name. A class is the mean over its prompts. The
    paper's supplement says mean, then normalise; we normalise each prompt first, as OpenAI's
    notebook and the Long-CLIP scripts do, so that every prompt has the same say.
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
    """How often the target class is strictly nearer by cosine than every other one.

    `image_embeddings` [N, D], `classifier` [C, D], `targets` int64 [N]. As in retrieval, a tie
    counts against the model: the prediction is then the rival.
    """
    images = UnitRows.of(image_embeddings, "image embeddings")
    classes = UnitRows.of(classifier.to(image_embeddings.device), "class embeddings")
    targets = targets.to(image_embeddings.device)
    _check_targets(targets, len(images), len(classes))

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


def _check_targets(targets: torch.Tensor, images: int, classes: int) -> None:
    if not images or targets.dtype != torch.int64 or targets.shape != (images,):
        raise UsageError(
            f"targets must be int64 [{images}], one class per image and at least one image, "
            f"not {targets.dtype} {list(targets.shape)}"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        raise UsageError(f"targets hold {low if low < 0 else high}, outside the {classes} classes")


# The 80 templates that OpenAI published for ImageNet with CLIP (github.com/openai/CLIP,
# notebooks/Prompt_Engineering_for_ImageNet.ipynb, MIT License). Long-CLIP uses them for every
# classification set, CIFAR included (supplement).
IMAGENET_TEMPLATES: tuple[str, ...] = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
