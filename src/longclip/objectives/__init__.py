"""Losses: pure functions of embeddings."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.objectives.contrastive import info_nce
    from longclip.objectives.losses import Loss, contrastive_loss, long_clip_loss
    from longclip.objectives.pcm import IdentityWarning, primary_components

_EXPORTS = {
    "IdentityWarning": "pcm",
    "Loss": "losses",
    "contrastive_loss": "losses",
    "info_nce": "contrastive",
    "long_clip_loss": "losses",
    "primary_components": "pcm",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "IdentityWarning",
    "Loss",
    "contrastive_loss",
    "info_nce",
    "long_clip_loss",
    "primary_components",
]
