"""Recipes and the loop that runs them."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.training.config import TrainConfig
    from longclip.training.loop import TrainingError, TrainResult, train
    from longclip.training.recipes import RECIPES
    from longclip.training.stream import PixelStore

_EXPORTS = {
    "RECIPES": "recipes",
    "PixelStore": "stream",
    "TrainConfig": "config",
    "TrainResult": "loop",
    "TrainingError": "loop",
    "train": "loop",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["RECIPES", "PixelStore", "TrainConfig", "TrainResult", "TrainingError", "train"]
