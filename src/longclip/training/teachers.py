"""Teachers: frozen models whose similarities the model in training keeps or takes over."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from longclip.errors import UsageError
from longclip.model import CLIP, load
from longclip.training.config import TrainConfig
from longclip.training.distributed import World, gather

MAX_TEACHER_IMAGES = 64
"""Images that a teacher reads at once."""


class Teacher:
    """Frozen model.

    Args:
        model: with as many tokens as it has; texts come cut to that.
        world: the processes.
    """

    def __init__(self, model: CLIP, world: World) -> None:
        self.preprocess = model.preprocess
        self._model = model.eval().requires_grad_(False)
        self._world = world

    @torch.no_grad()
    def features(
        self,
        pixels: Callable[[slice], Tensor],
        ids: Tensor,
        counts: Sequence[int],
        *,
        texts_per_image: int,
        blank: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised features [B, E] and [B·K, E] of the whole batch, and the temperature.

        Args:
            pixels: returns pixels [n, 3, H, W] of a slice of this process's pictures, normalised
                by `preprocess`.
            ids: int64 [N·K, L].
            counts: N of each process.
            texts_per_image: K.
            blank: this process has no pairs, and `pixels` and `ids` mean nothing.
        """
        model, mine = self._model, counts[self._world.rank]
        if blank:
            images = texts = torch.zeros(0, model.embedding_dim, device=model.device)
        else:
            starts = range(0, mine, MAX_TEACHER_IMAGES)
            parts = [slice(i, min(i + MAX_TEACHER_IMAGES, mine)) for i in starts]
            images = torch.cat([model.image_features(pixels(part)) for part in parts])
            texts = model.text_features(ids)
        text_counts = [count * texts_per_image for count in counts]
        return (
            gather(F.normalize(images.float(), dim=-1), counts, self._world),
            gather(F.normalize(texts.float(), dim=-1), text_counts, self._world),
            model.logit_scale.exp(),
        )


def load_long_teacher(config: TrainConfig, student: CLIP) -> CLIP | None:
    """Load the teacher of long texts, where a run has one.

    Raises:
        ValueError: if it cannot be loaded, or cannot read what the student reads.
    """
    if not config.long_distill_weight:
        return None
    teacher = load(config.long_teacher)
    named = f"--long-teacher {config.long_teacher}"
    if not teacher.config.whole:
        raise UsageError(f"{named} is one tower of a CLIP alone; a teacher has both")
    # Both see the same pixels and the same ids; only what these are normalised by may differ.
    ours, theirs = student.preprocess, teacher.preprocess
    if replace(theirs, mean=ours.mean, std=ours.std) != ours:
        raise UsageError(
            f"{named} sees pictures of {theirs.image_size} pixels ({theirs.resize}, "
            f"{theirs.interpolation}), the model in training of {ours.image_size} ({ours.resize}, "
            f"{ours.interpolation}); take a teacher that sees the same"
        )
    files = [
        model.tokenizer_files and model.tokenizer_files.contents for model in (student, teacher)
    ]
    if files[0] != files[1] or student.pad_token_id != teacher.pad_token_id:
        raise UsageError(
            f"{named} has another tokenizer than the model in training; take one with the same"
        )
    if teacher.context_length < student.context_length:
        raise UsageError(
            f"{named} reads {teacher.context_length} tokens, the model in training "
            f"{student.context_length}; take a teacher of as many, or a smaller --context-length"
        )
    return teacher
