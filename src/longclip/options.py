"""Options, each stated once: a field of a frozen dataclass, with its help, default and bounds.

A command takes the dataclass as its options (`longclip.cli`), and the Python API takes the
same object. No torch here: the command line reads this to print its help.
"""

import math
import re
from dataclasses import MISSING, field, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import Parameter

from longclip.errors import UsageError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

EngineDtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Numbers that any engine computes with."""

Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A text, which may begin with a hyphen."""

MAX_INTEGER = 2**53
"""Bound of every whole number: JSON and floating point keep those up to it exactly."""

# Of torch and its extensions; `meta`, which torch has too, holds no numbers.
_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu|hpu|mtia|npu|xla)(:\d+)?")

NOT_AN_OPTION = Parameter(parse=False)
"""Marks a field that the Python API has and the command line has not."""


def option(
    help: str,
    default: Any = MISSING,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    resumable: bool = False,
    group: str | None = None,
) -> Any:
    """Return a dataclass field that is also an option of a command.

    Args:
        help: one or more sentences for `--help`.
        default: of the field; without one it has to be given.
        least: the smallest value.
        most: the largest value.
        above: a bound below all values.
        below: a bound above all values.
        resumable: whether a training run may be resumed with another value, because it changes no
            result but by rounding.
        group: the title of its panel in `longclip train --help`; the first panel has none.
    """
    metadata = {
        "help": help,
        "least": least,
        "most": most,
        "above": above,
        "below": below,
        "resumable": resumable,
        "group": group,
    }
    return field(default=default, metadata=metadata)


def device_option(note: str = "", *, resumable: bool = False, group: str | None = None) -> Any:
    """Return the option `--device`, the same for every command that runs a model."""
    return option(
        "Where the model runs: cpu, cuda, cuda:1, mps …; auto is CUDA, else MPS where it works, "
        f"else the CPU.{note and ' '}{note}",
        "auto",
        resumable=resumable,
        group=group,
    )


def dtype_option(auto: str) -> Any:
    """Return the option `--dtype` of a command for which `auto` means that."""
    return option(f"Numbers that the model computes with; auto is {auto}.", "auto")


def engine_option() -> Any:
    """Return the option `--engine`, the same for every command that only embeds."""
    return option(
        "What computes the model: torch; onnx (onnxruntime) or openvino, for a directory with ONNX "
        "files, which `longclip convert --to onnx` writes. auto is torch where there are "
        "weights, and for ONNX files alone onnx, or openvino where only that is installed.",
        "auto",
    )


def bad_fraction_option(
    default: float = 0.01, note: str = "", *, resumable: bool = False, group: str | None = None
) -> Any:
    """Return the option `--max-bad-fraction`, the same for every command that reads data."""
    return option(
        "Share of items (images, rows) that may be unusable; with more of them the command fails."
        f"{note and ' '}{note}",
        default,
        least=0,
        most=1,
        resumable=resumable,
        group=group,
    )


def images_option(*, group: str | None = None) -> Any:
    """Return the option `--images`, the same for every command that takes `--data`."""
    return option(
        "Folders that picture paths in the data are relative to; the data's own otherwise. "
        "Repeatable.",
        (),
        group=group,
    )


def flag_of(name: str) -> str:
    """Return the option that sets a field: `--batch-size` for `batch_size`."""
    return "--" + name.replace("_", "-")


def refuse_revision(name: str, revision: str | None) -> None:
    """Refuse a revision of what is not on the hub.

    Raises:
        UsageError: if one is given.
    """
    if revision is not None:
        raise UsageError(
            f"--revision {revision} names a version on the hub, and {name} is on this machine; "
            "leave it out"
        )


def _check_kind(flag: str, value: Any, kind: Any) -> None:
    """Check what the command line makes right by itself and Python code may have wrong.

    Raises:
        UsageError: if a value is none of its choices, or a string in the place of something else.
    """
    if get_origin(kind) is tuple:
        if isinstance(value, str):
            raise UsageError(f"{flag} is {value!r}, must be a tuple, of one too: ({value!r},)")
        return
    alone = get_origin(kind) is Literal
    kinds = [kind] if alone else [one for one in get_args(kind) or [kind] if one is not NoneType]
    choices = [choice for one in kinds if get_origin(one) is Literal for choice in get_args(one)]
    if choices and value not in choices:
        raise UsageError(f"{flag} is {value!r}, must be one of {', '.join(map(repr, choices))}")
    if not isinstance(value, str):
        return
    if kinds == [Path]:
        raise UsageError(f"{flag} is {value!r}, must be a path: Path({value!r})")
    if set(kinds) <= {int, float, bool}:
        raise UsageError(f"{flag} is {value!r}, must be a number or True or False, not a string")


def check_options(config: Any) -> None:
    """Check every field of a dataclass against its bounds; None is never out of them.

    Values are of the field's choices and kind. Numbers are finite, whole numbers are whole and at
    most `MAX_INTEGER`.

    Raises:
        UsageError: names the option, its value and the bounds.
    """
    for one in fields(config):
        least, most, above, below = map(one.metadata.get, ("least", "most", "above", "below"))
        value = getattr(config, one.name)
        if value is None:
            continue
        flag = flag_of(one.name)
        _check_kind(flag, value, one.type)
        if one.name == "device" and not _DEVICE.fullmatch(value):
            raise UsageError(
                f"{flag} {value} is none that a model can run on; take auto, cpu, cuda, cuda:1 or "
                "mps"
            )
        # Written so that NaN is in no bounds.
        inside = (
            (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )
        if inside:
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{flag} is {value}, must be a finite number")
            if isinstance(value, float) and one.type in (int, int | None):
                raise UsageError(f"{flag} is {value}, must be a whole number")
            if isinstance(value, int) and abs(value) > MAX_INTEGER:
                raise UsageError(f"{flag} is {value}, must be at most {MAX_INTEGER:,}")
            continue
        if least is not None and most is not None:
            bounds = f"from {least} to {most}"
        else:
            parts = ((above, "above"), (least, "at least"), (most, "at most"), (below, "below"))
            bounds = " and ".join(f"{word} {bound}" for bound, word in parts if bound is not None)
        raise UsageError(f"{flag} is {value}, must be {bounds}")
