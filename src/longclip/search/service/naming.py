"""What clients call the model."""

from pathlib import Path

from longclip.checkpoints.hub import is_hub_id


def public_name(model: str) -> str:
    """A hub name as it is; of a file or directory its last part, the rest being nobody's business.

    Args:
        model: what a database was indexed with, see `About.model`.
    """
    if is_hub_id(model) and not Path(model).exists():
        return model
    return Path(model).name or model
