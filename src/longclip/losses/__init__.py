"""Losses: pure functions of embeddings."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.losses.contrastive import info_nce as info_nce
    from longclip.losses.contrastive import sigmoid_loss as sigmoid_loss
    from longclip.losses.distill import distillation as distillation
    from longclip.losses.long_clip import Loss as Loss
    from longclip.losses.long_clip import long_clip_loss as long_clip_loss
    from longclip.losses.monotonicity import monotonicity_loss as monotonicity_loss
    from longclip.losses.pcm import IdentityWarning as IdentityWarning
    from longclip.losses.pcm import components_of_variance as components_of_variance
    from longclip.losses.pcm import primary_components as primary_components

export_lazily(__name__)
