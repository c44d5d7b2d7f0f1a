"""The search service: an HTTP API and a page (needs the extra `search`)."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip._libraries import require

if TYPE_CHECKING:
    from longclip.search.service.app import create_app
    from longclip.search.service.config import ServeConfig
    from longclip.search.service.server import serve

_EXPORTS = {"ServeConfig": "config", "create_app": "app", "serve": "server"}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["ServeConfig", "create_app", "serve"]


def require_libraries() -> None:
    """Say what to install where something is missing; raises ValueError."""
    needed = ("lancedb", "fastapi", "uvicorn", "prometheus_client")
    require(needed, needed_by="the search service needs", extra="search")
