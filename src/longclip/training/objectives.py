"""Objectives: what is computed of the features of a whole batch, to be made small."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from longclip.errors import UsageError
from longclip.losses import (
    Loss,
    components_of_variance,
    info_nce,
    long_clip_loss,
    monotonicity_loss,
    sigmoid_loss,
)
from longclip.training.config import OBJECTIVE_NAMES, TrainConfig
from longclip.training.preflight import check_objective
from longclip.util.plugins import OBJECTIVES as GROUP
from longclip.util.plugins import load_plugin, plugins


@dataclass(frozen=True)
class BatchFeatures:
    """Normalised float32 features of the whole batch of B pairs, by the student or its teacher.

    Attributes:
        images: [B, D].
        logit_scale: scalar, the inverse temperature.
        short: [B·K, D], K texts for each image in turn; None where none are read.
        long: [B, D], likewise.
        logit_bias: scalar; None for the teacher, whose own loss is not wanted.
    """

    images: Tensor
    logit_scale: Tensor
    short: Tensor | None
    long: Tensor | None = None
    logit_bias: Tensor | None = None


class Objective(Protocol):
    """A loss of the features of a batch."""

    def __call__(
        self, features: BatchFeatures, config: TrainConfig, rows: slice | None, /
    ) -> Loss | Mapping[str, Tensor]:
        """Return the share of some rows in the loss, as a `Loss`, or parts that are summed.

        Args:
            features: of the whole batch, of all processes. Their gradients are taken.
            config: of the run.
            rows: the images whose share is wanted, None for all of them. The shares of all
                processes must add up to the loss of the batch, and so must their parts.
        """
        ...


def long_clip(features: BatchFeatures, config: TrainConfig, rows: slice | None) -> Loss:
    """Return Long-CLIP's loss and its variants, as the options of a run say."""
    loss = long_clip_loss(
        features.images,
        features.long,
        features.short if config.matches_short else None,
        features.logit_scale,
        logit_bias=features.logit_bias if config.short_loss == "sigmoid" else None,
        long_logit_bias=features.logit_bias if config.long_loss == "sigmoid" else None,
        long_weight=config.long_weight,
        weight=config.pcm_weight if config.pcm else config.short_weight or 1.0,
        components=config.pcm_components if config.pcm else None,
        groups=config.pcm_groups,
        label_smoothing=config.label_smoothing,
        margin=config.margin,
        # Beside long texts the short ones are summaries, which many images may share; a margin
        # would drive apart what is alike.
        short_margin=0.0 if features.long is not None else config.margin,
        normalize=False,
        rows=rows,
        chunk=config.logit_rows,
    )
    if not (config.text_pcm_weight or config.monotonicity_weight):
        return loss
    return _with_parts_of_long_texts(loss, features, config, rows)


def _with_parts_of_long_texts(
    loss: Loss, features: BatchFeatures, config: TrainConfig, rows: slice | None
) -> Loss:
    """Return a loss with HiMo-CLIP's terms (Wu et al., AAAI 2026, arXiv 2511.06653) added.

    The published code has InfoNCE(image, text) + InfoNCE(image, components of the text), with the
    PCA of each GPU's texts, in which 0.85 of their variance stays, and features of other GPUs
    without gradient. Here the PCA is that of the whole batch (`pcm_groups` splits it), with all
    gradients. Monotonicity is a term of its own, see `longclip.losses.monotonicity`.
    """
    images, long = features.images, features.long
    assert long is not None
    total, parts_of_loss, parts_of_texts = loss.total, dict(loss.parts), []
    if config.text_pcm_weight:
        components = components_of_variance(
            long, config.text_pcm_variance, groups=config.pcm_groups
        )
        parts_of_texts.append(components[:, None])
        scale, chunk = features.logit_scale, config.logit_rows
        if config.long_loss == "sigmoid":
            assert features.logit_bias is not None
            matched = sigmoid_loss(
                images, components, scale, features.logit_bias, rows=rows, chunk=chunk
            )
        else:
            smoothing = config.label_smoothing
            matched = info_nce(
                images, components, scale, label_smoothing=smoothing, rows=rows, chunk=chunk
            )
        parts_of_loss["components"] = matched
        total = total + config.text_pcm_weight * matched
    if config.monotonicity_weight:
        if config.matches_short:
            assert features.short is not None
            parts_of_texts.append(features.short.view(len(images), -1, images.shape[1]))
        excess = monotonicity_loss(
            images,
            long,
            torch.cat(parts_of_texts, dim=1).flatten(0, 1),
            features.logit_scale,
            rows=rows,
        )
        parts_of_loss["monotonicity"] = excess
        total = total + config.monotonicity_weight * excess
    return Loss(total, parts_of_loss)


OBJECTIVES: dict[str, Objective] = dict(zip(OBJECTIVE_NAMES, (long_clip,), strict=True))
"""Objectives by the name that `--objective` takes."""


def find_objective(name: str) -> Objective:
    """Return an objective by its name: one of ours, or of an installed package.

    Raises:
        UsageError: if there is none, or its package cannot be imported.
    """
    check_objective(name)
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    found: Objective = load_plugin(plugins(GROUP)[name])
    return found


def objective_name(objective: Callable[..., Any]) -> str:
    """Return the name under which a run keeps an objective: module and name, or its class's."""
    named = objective if hasattr(objective, "__qualname__") else type(objective)
    return f"{named.__module__}:{named.__qualname__}"


def share_of(
    objective: Objective, features: BatchFeatures, config: TrainConfig, rows: slice | None
) -> Loss:
    """Return what an objective gives as a `Loss`; parts alone are summed.

    Raises:
        UsageError: if it gives something else than scalars by name.
    """
    found = objective(features, config, rows)
    if isinstance(found, Loss):
        return found
    scalars = isinstance(found, Mapping) and all(
        isinstance(part, Tensor) and part.ndim == 0 for part in found.values()
    )
    if not scalars or not found:
        raise UsageError(
            f"the objective {config.objective} gives {type(found).__name__}; it must return a "
            "longclip.losses.Loss, or scalar tensors by name, which are summed"
        )
    parts = dict(found)
    first, *others = parts.values()
    return Loss(sum(others, start=first), parts)
