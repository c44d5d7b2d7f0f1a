"""Checks of a run that need no torch: what is mistyped is told at once, not after it is loaded."""

import os
from pathlib import Path

from longclip.checkpoints.model_names import check_model_name
from longclip.data.names import Kind, kind_of
from longclip.errors import DataError, UsageError
from longclip.training.config import TrainConfig


def check_paths(config: TrainConfig) -> None:
    """Check that what a new run is to read is there, and that it can write its directory.

    Raises:
        ValueError: if the model, data or a folder of pictures is not there, or `out` cannot be
            written; names it.
    """
    if not config.scratch:
        check_model_name(config.model)
    for name in config.data:
        check_data_name(name, "--data")
    missing = [str(folder) for folder in config.images if not folder.is_dir()]
    if missing:
        raise DataError(f"there is no folder of pictures {', '.join(missing)} (--images)")
    place = Path(os.path.abspath(config.out))
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"--out {config.out}: {place} is no directory that can be written to")


def check_data_name(
    name: str, option: str, problem: str = "there is no such file or folder"
) -> None:
    """Check that data can be meant by a name; that of data on the hub or at a URL is believed.

    Raises:
        DataError: if it is a path, and nothing is there.
    """
    kind = kind_of(name)
    if kind is Kind.MISSING or (kind is Kind.MIXTURE and not Path(name).exists()):
        raise DataError(f"{option} {name}: {problem}")
