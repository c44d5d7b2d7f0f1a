"""Losses: pure functions of embeddings."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.objectives.contrastive import info_nce
    from longclip.objectives.distilling import distillation
    from longclip.objectives.losses import Loss, contrastive_loss, long_clip_loss
    from longclip.objectives.pcm import IdentityWarning, primary_components
    from longclip.objectives.sigmoid import sigmoid_loss

_EXPORTS = {
    "IdentityWarning": "pcm",
    "Loss": "losses",
    "contrastive_loss": "losses",
    "distillation": "distilling",
    "info_nce": "contrastive",
    "long_clip_loss": "losses",
    "primary_components": "pcm",
    "sigmoid_loss": "sigmoid",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "IdentityWarning",
    "Loss",
    "contrastive_loss",
    "distillation",
    "info_nce",
    "long_clip_loss",
    "primary_components",
    "sigmoid_loss",
]
