"""Weights in and out."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import CheckpointError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.checkpoints.checkpoint import Checkpoint, Tower, lone_tower
    from longclip.checkpoints.read import Activation, open_checkpoint

# The function and the class are exported, so the module `checkpoint` must not be called like one.
_EXPORTS = {
    "Activation": "read",
    "Checkpoint": "checkpoint",
    "Tower": "checkpoint",
    "lone_tower": "checkpoint",
    "open_checkpoint": "read",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["Activation", "Checkpoint", "Tower", "lone_tower", "open_checkpoint"]
