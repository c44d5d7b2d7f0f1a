"""Libraries that only some parts of the house need, and what to install where they are missing."""

import importlib.util
from collections.abc import Sequence

from longclip.errors import UsageError


def require(names: Sequence[str], *, needed_by: str, extra: str) -> None:
    """Say what to install, before anything is imported.

    Args:
        names: of the modules.
        needed_by: the subject of the message, with its verb: `pipelines need`.
        extra: of longclip, which installs them.

    Raises:
        ValueError: if some are missing; names them and the command.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{needed_by} {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            f'installed: pip install "longclip[{extra}]"'
        )
