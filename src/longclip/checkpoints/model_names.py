"""Names of models: those that come with the package, and those on the Hugging Face hub.

No torch here: a mistyped name is told before it is loaded.
"""

import re
from pathlib import Path

from longclip.errors import CheckpointError

BUNDLED = ("nano",)
"""Names of the models that come inside the package."""

# No other folder than a pipeline's encoders: `runs/paper/model` is a path, be it mistyped.
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(/(text_encoder|image_encoder)(_\d)?)?")


def is_hub_id(name: str) -> bool:
    """Return whether `name` looks like owner/model, or owner/model/text_encoder and the like."""
    return _ID.fullmatch(name) is not None


def check_model_name(source: str | Path) -> None:
    """Check that a name can be one of a model.

    Raises:
        CheckpointError: if it is neither bundled, nor a path that is there, nor may be on the hub.
    """
    path = Path(source)
    # Of a file, a part may be named: `sdxl.safetensors/text_encoder_2`.
    if source in BUNDLED or path.exists() or path.parent.is_file():
        return
    if not (isinstance(source, str) and is_hub_id(source)):
        raise CheckpointError(
            f"no model {str(source)!r}: it is neither a directory, nor a file, nor owner/model "
            f"on the hub, nor a bundled model ({', '.join(BUNDLED)})"
        )
