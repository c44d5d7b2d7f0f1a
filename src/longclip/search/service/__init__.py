"""The search service: an HTTP API and a page (needs the extra `search`)."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.search.service.app import create_app
    from longclip.search.service.config import ServeConfig
    from longclip.search.service.serving import serve

_EXPORTS = {"ServeConfig": "config", "create_app": "app", "serve": "serving"}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = ["ServeConfig", "create_app", "serve"]
