"""JSON files that carry a checksum of their content, so that damage never passes for a value."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longclip.errors import CheckpointError
from longclip.util.files import write_text

SEAL = "sha256"
"""Key of the checksum: of all other values, as `json.dumps` writes them with sorted keys."""


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, atomically."""
    write_text(path, json.dumps({**values, SEAL: _checksum(values)}, indent=2) + "\n")


def read_sealed(path: Path) -> dict[str, Any]:
    """Read such a file, without its checksum.

    Raises:
        FileNotFoundError: if there is none.
        CheckpointError: if it is damaged, or was changed by hand; names the file and says how.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        what = str(error).partition(":")[0] if path.stat().st_size else "it is empty"
        raise CheckpointError(f"{path} is no JSON ({what})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    if values.pop(SEAL, None) != _checksum(values):
        raise CheckpointError(f"{path} is not as it was written: its checksum is another")
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
