"""JSON objects: the configurations and indices of model directories."""

import json
from pathlib import Path
from typing import Any

from longclip.errors import CheckpointError
from longclip.util.files import write_text


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        CheckpointError: if the file is missing, is not JSON, or is not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: a model directory holds config.json and model.safetensors"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch it again") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}, expected a JSON object")
    return values


def write_json(path: Path, values: object) -> None:
    """Write a JSON file atomically, indented for people to read."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
