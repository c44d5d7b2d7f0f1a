"""Recipes and the loop that runs them."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import Preempted, TrainingError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.training.config import TrainConfig
    from longclip.training.loop import TrainResult, train
    from longclip.training.recipes import RECIPES
    from longclip.training.stream import PixelStore

_EXPORTS = {
    "RECIPES": "recipes",
    "PixelStore": "stream",
    "TrainConfig": "config",
    "TrainResult": "loop",
    "train": "loop",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "RECIPES",
    "PixelStore",
    "TrainConfig",
    "TrainResult",
    "train",
]
