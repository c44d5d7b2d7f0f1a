"""Weights in and out."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.checkpoints.huggingface import CheckpointError

_EXPORTS = {"CheckpointError": "huggingface"}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["CheckpointError"]
