"""Weights in and out."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.checkpoints.checkpoint import Activation, Checkpoint, open_checkpoint
    from longclip.checkpoints.errors import CheckpointError

# The function and the class are exported, so the module `checkpoint` must not be called like one.
_EXPORTS = {
    "Activation": "checkpoint",
    "Checkpoint": "checkpoint",
    "CheckpointError": "errors",
    "open_checkpoint": "checkpoint",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["Activation", "Checkpoint", "CheckpointError", "open_checkpoint"]
