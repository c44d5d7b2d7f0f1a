"""Options of a run from a file: TOML, or the config.json that another run has written."""

import json
import tomllib
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from longclip.errors import UsageError
from longclip.training.config import RENAMED_OPTIONS, TrainConfig
from longclip.training.run.directory import CONTENT
from longclip.util.regular_files import read_regular
from longclip.util.sealed_json import SEAL

_NOT_OPTIONS = ("longclip", CONTENT, SEAL)
"""What config.json has besides options."""


def read_options_file(path: Path) -> dict[str, Any]:
    """Return the options in a file by their names in `TrainConfig`.

    They are called as on the command line, `batch-size`, or with underscores. The directory of the
    run that wrote a config.json is left out: it is taken.

    Raises:
        UsageError: if the file cannot be read, or a key or value is none of an option's.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--config {path} cannot be read: {reason}") from error
    if not isinstance(found, dict):
        raise UsageError(
            f"--config {path} holds no options by name; name a TOML file with lines such as "
            "`batch-size = 256`, or the config.json of a run"
        )
    of_a_run = "longclip" in found
    known = {one.name for one in fields(TrainConfig)}
    kinds = get_type_hints(TrainConfig)
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        name = RENAMED_OPTIONS.get(name, name)
        if of_a_run and (name in (*_NOT_OPTIONS, "out")):
            continue
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0].replace('_', '-')}?" if near else "see train --help"
            raise UsageError(f"--config {path}: there is no option {key}; {hint}")
        values[name] = _value(f"--config {path}: {key}", value, kinds[name])
    return values


def _value(what: str, value: Any, kind: Any) -> Any:
    """Return a value of a file in the type of its option."""
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        listed = value if isinstance(value, list) else [value]
        return tuple(_value(what, each, item) for each in listed)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    choices = _choices(kind)
    if value in choices if choices else type(value) is kind:
        return value
    if choices:
        raise UsageError(f"{what} is {value!r}, must be one of {', '.join(choices)}")
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    raise UsageError(f"{what} is {value!r}, must be {names.get(kind, 'a text')}")


def _choices(kind: Any) -> list[str]:
    """Return the choices of a Literal, or of several that make up a union."""
    return [choice for each in get_args(kind) for choice in (_choices(each) or [each])]
