"""What the service needs besides longclip itself."""

import importlib.util

from longclip.search.errors import SearchError

_NEEDED = ("lancedb", "fastapi", "uvicorn", "prometheus_client")


def require_libraries() -> None:
    """Say what to install where something is missing; raises SearchError."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SearchError(
            f"the search service needs {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: "
            'pip install "longclip[search]"'
        )
