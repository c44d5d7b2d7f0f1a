"""Losses: pure functions of embeddings."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.losses.contrastive import info_nce
    from longclip.losses.distill import distillation
    from longclip.losses.long_clip import Loss, long_clip_loss
    from longclip.losses.pcm import IdentityWarning, primary_components
    from longclip.losses.sigmoid import sigmoid_loss

_EXPORTS = {
    "IdentityWarning": "pcm",
    "Loss": "long_clip",
    "distillation": "distill",
    "info_nce": "contrastive",
    "long_clip_loss": "long_clip",
    "primary_components": "pcm",
    "sigmoid_loss": "sigmoid",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "IdentityWarning",
    "Loss",
    "distillation",
    "info_nce",
    "long_clip_loss",
    "primary_components",
    "sigmoid_loss",
]
