"""The former name of `longclip.losses`, kept for code that uses it."""

from longclip.losses import (
    IdentityWarning,
    Loss,
    distillation,
    info_nce,
    long_clip_loss,
    primary_components,
    sigmoid_loss,
)

__all__ = [
    "IdentityWarning",
    "Loss",
    "distillation",
    "info_nce",
    "long_clip_loss",
    "primary_components",
    "sigmoid_loss",
]
