"""Recipes and the loop that runs them."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.errors import Preempted as Preempted
    from longclip.errors import TrainingError as TrainingError
    from longclip.training.config import TrainConfig as TrainConfig
    from longclip.training.data import PixelStore as PixelStore
    from longclip.training.loop import train as train
    from longclip.training.recipes import RECIPES as RECIPES
    from longclip.training.trainer import TrainResult as TrainResult

export_lazily(__name__)
