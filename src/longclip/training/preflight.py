"""Checks of a run that need no torch: what is mistyped is told at once, not after it is loaded."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from longclip.checkpoints.model_names import check_model_name
from longclip.data.names import Kind, kind_of, refuse_unread, scenes_split
from longclip.data.tar.members import refuse_compressed
from longclip.errors import DataError, UsageError
from longclip.options import flag_of
from longclip.training.config import OBJECTIVE_NAMES, TrainConfig
from longclip.training.run.directory import RunDirectory
from longclip.util.plugins import OBJECTIVES, plugins
from longclip.util.regular_files import open_regular

if TYPE_CHECKING:  # it loads numpy
    from longclip.data.tables.columns import Columns

_SMALL_BYTES = 8 << 20
"""Size up to which a table is opened before the model is loaded, in tenths of a second."""


def check_start_or_resume(*, resume: bool, overwrite: bool, changed_data: bool) -> None:
    """Check that a run is either begun or resumed.

    Raises:
        UsageError: naming the options that contradict each other.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on in a run, --overwrite deletes it; take one of them")
    if changed_data and not resume:
        raise UsageError("--changed-data is for --resume: a new run takes whatever data there is")


def check_start(config: TrainConfig, *, overwrite: bool = False) -> None:
    """Check that what a new run is to read is there, and that it may write its directory.

    Raises:
        ValueError: if the model, data, a folder of pictures or the objective is not there, `out`
            cannot be written, or an option on data is read by none; names it.
        FileExistsError: if `out` holds a run, which is not to be overwritten.
    """
    RunDirectory(config.out).check_kind(resume=False, overwrite=overwrite)
    check_objective(config.objective)
    if not config.scratch:
        check_model_name(config.model)
    if config.long_teacher:
        check_model_name(config.long_teacher)
    check_data_names(config)
    refuse_unread_options(config)
    place = Path(os.path.abspath(config.out))
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"--out {config.out}: {place} is no directory that can be written to")


def check_small_tables(config: TrainConfig) -> None:
    """Check that data can be trained on where it is quickly read: tables that are not large.

    Raises:
        ValueError: if a table is damaged or lacks a column that is named, too many of its pictures
            are not there, or there are fewer than a batch takes.
    """
    for name in config.data:
        if kind_of(name) is not Kind.TABLE or Path(name).stat().st_size > _SMALL_BYTES:
            return
    from longclip.data.collection import refuse_absent
    from longclip.data.open import open_training_data
    from longclip.training.plan import plan_of

    data = open_training_data(config.data, columns=columns_of(config), images=config.images)
    items = min(len(data), config.limit or len(data))
    if not config.holdout:  # how many are held out depends on which rows have one picture
        items = plan_of(config, data).items
    refuse_absent(data, config.max_bad_fraction, items=items)


def columns_of(config: TrainConfig) -> "Columns":
    """Return the columns that the options of a run name."""
    from longclip.data.tables.columns import Columns

    return Columns(
        image=config.image_column or None,
        short=config.short_column or None,
        long=config.long_column or None,
    )


def check_data_names(config: TrainConfig, *, resume: bool = False) -> None:
    """Check that the data and the folders of pictures of a run are there.

    Raises:
        DataError: if one is not; of a run that is resumed it says how to name a new place.
    """
    remedy = "; if it was moved, name its new place with {} NEWPATH: the run goes on" * resume
    for name in config.data:
        check_data_name(name, "--data", "there is no such file or folder" + remedy.format("--data"))
    missing = [str(folder) for folder in config.images if not folder.is_dir()]
    if missing:
        raise DataError(
            f"there is no folder of pictures {', '.join(missing)} (--images)"
            + remedy.format("--images")
        )


def given_on_data(config: TrainConfig) -> dict[str, str]:
    """Return which options on folders of pictures and on columns are given, by what they name."""
    return {
        name.removesuffix("_column"): flag_of(name)
        for name in ("images", "image_column", "short_column", "long_column")
        if getattr(config, name)
    }


def refuse_unread_options(config: TrainConfig) -> None:
    """Refuse `images` and names of columns that nothing a run reads or measures on would take.

    Raises:
        UsageError: naming the option.
    """
    # What is no path is a benchmark.
    measured = [name for name in config.evaluate if kind_of(name) is not Kind.MISSING]
    refuse_unread(given_on_data(config), [*config.data, *measured])


def check_data_name(
    name: str, option: str, problem: str = "there is no such file or folder"
) -> None:
    """Check that data can be meant by a name; that of data on the hub or at a URL is believed.

    Raises:
        DataError: if it is a path, and nothing is there, or a file of a kind that is not read.
    """
    kind = kind_of(name)
    if kind is Kind.MISSING or (kind is Kind.MIXTURE and not Path(name).exists()):
        raise DataError(f"{option} {name}: {problem}")
    if kind is Kind.SCENES:
        scenes_split(name)
    if kind is Kind.TAR:
        with open_regular(name) as file:
            refuse_compressed(file, name)
    if kind is Kind.FILE:
        from longclip.data.tables.open import what_else  # loads pyarrow

        raise DataError(f"{option} {name} is {what_else(Path(name))}")


def check_objective(name: str) -> None:
    """Check that there is an objective of this name: one of ours, or of an installed package.

    Raises:
        UsageError: if there is none; says which there are.
    """
    known = [*OBJECTIVE_NAMES, *sorted(plugins(OBJECTIVES))]
    if name not in known:
        raise UsageError(
            f"--objective {name} is none of {', '.join(known)}; one of your own is handed over in "
            "Python, `train(config, objective=…)`, or offered by an entry point of the group "
            f"{OBJECTIVES}"
        )
