"""The search service: an HTTP API and a page (needs the extra `search`)."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.search.service.config import ServeConfig as ServeConfig
    from longclip.search.service.server import create_app as create_app
    from longclip.search.service.server import serve as serve

export_lazily(__name__)
