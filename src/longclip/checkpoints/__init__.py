"""Weights in and out."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.checkpoints.checkpoint import Checkpoint, Tower, lone_tower
    from longclip.checkpoints.errors import CheckpointError
    from longclip.checkpoints.reading import Activation, open_checkpoint

# The function and the class are exported, so the module `checkpoint` must not be called like one.
_EXPORTS = {
    "Activation": "reading",
    "Checkpoint": "checkpoint",
    "CheckpointError": "errors",
    "Tower": "checkpoint",
    "lone_tower": "checkpoint",
    "open_checkpoint": "reading",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["Activation", "Checkpoint", "CheckpointError", "Tower", "lone_tower", "open_checkpoint"]
