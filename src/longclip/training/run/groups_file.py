"""Files of the groups that batches were made of, so that a resumed run goes on with the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longclip.errors import CheckpointError
from longclip.runs.run_files import NEIGHBOURS
from longclip.training.plan import GroupedPasses, Groups
from longclip.util.sealed_json import read_sealed, write_sealed

_PREFIX = "step-"


def write_groups(
    run: Path, grouped: GroupedPasses, made_from: Mapping[str, Any], cosines: Mapping[str, float]
) -> None:
    """Write groups, a line of numbers each, with what they were made from.

    Args:
        run: the run's directory.
        grouped: the groups; what earlier ones there are from this step on is replaced.
        made_from: data, start model and the like.
        cosines: how alike the items are, for people.
    """
    values = {
        "step": grouped.step,
        "made_from": dict(made_from),
        "cosines": dict(cosines),
        "rest": _to_json(grouped.rest),
        "whole": _to_json(grouped.whole),
    }
    write_sealed(_path(run, grouped.step), values)


def read_groups(run: Path, steps: range, made_from: Mapping[str, Any]) -> GroupedPasses | None:
    """Return the last groups that were made in these steps; None if they are of something else.

    Raises:
        FileNotFoundError: if there are none.
        CheckpointError: if they are damaged.
    """
    found = sorted((run / NEIGHBOURS).glob(f"{_PREFIX}*.json"))
    found = [path for path in found if _path(run, steps[0]) <= path <= _path(run, steps[-1])]
    if not found:
        raise FileNotFoundError(f"{run / NEIGHBOURS} has no groups of step {steps[0]}")
    values = read_sealed(found[-1])
    if values.get("made_from") != dict(made_from):
        return None
    try:
        rest, whole = _from_json(values["rest"]), _from_json(values["whole"])
        return GroupedPasses(int(values["step"]), rest, whole)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{found[-1]} does not hold groups ({error})") from error


def _path(run: Path, step: int) -> Path:
    return run / NEIGHBOURS / f"{_PREFIX}{step:08d}.json"


def _to_json(groups: Groups | None) -> dict[str, Any] | None:
    if groups is None:
        return None
    rows = [" ".join(map(str, row)) for row in groups.members.tolist()]
    return {"groups": rows, "spare": groups.spare.tolist()}


def _from_json(values: Mapping[str, Any] | None) -> Groups | None:
    if values is None:
        return None
    members: NDArray[np.int64] = np.array([row.split() for row in values["groups"]], np.int64)
    return Groups(members, np.array(values["spare"], np.int64))
