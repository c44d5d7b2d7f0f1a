"""Databases of images that are found by descriptions of any length."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import FilterError, SearchError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.search.database.provenance import About
    from longclip.search.database.reader import Hit, Reader
    from longclip.search.database.schema import Facts, Row
    from longclip.search.database.status import Status, status
    from longclip.search.database.store import Store
    from longclip.search.database.vector_index import IndexQuality
    from longclip.search.indexing.cluster.config import Cluster
    from longclip.search.indexing.index import forget, index
    from longclip.search.indexing.index_report import IndexReport
    from longclip.search.query.query import Found, FoundImage, Query
    from longclip.search.query.searcher import Searcher, open_searcher
    from longclip.search.service.app import create_app
    from longclip.search.sources.image_source import ImageSource, Item, Listing
    from longclip.search.sources.open_image_source import open_image_source, read_original

_EXPORTS = {
    "About": "database.provenance",
    "Cluster": "indexing.cluster.config",
    "Facts": "database.schema",
    "Found": "query.query",
    "FoundImage": "query.query",
    "Hit": "database.reader",
    "ImageSource": "sources.image_source",
    "IndexQuality": "database.vector_index",
    "IndexReport": "indexing.index_report",
    "Item": "sources.image_source",
    "Listing": "sources.image_source",
    "Query": "query.query",
    "Reader": "database.reader",
    "Row": "database.schema",
    "Searcher": "query.searcher",
    "Status": "database.status",
    "Store": "database.store",
    "create_app": "service.app",
    "forget": "indexing.index",
    "index": "indexing.index",
    "open_searcher": "query.searcher",
    "open_image_source": "sources.open_image_source",
    "read_original": "sources.open_image_source",
    "status": "database.status",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "About",
    "Cluster",
    "Facts",
    "Found",
    "FoundImage",
    "Hit",
    "ImageSource",
    "IndexQuality",
    "IndexReport",
    "Item",
    "Listing",
    "Query",
    "Reader",
    "Row",
    "Searcher",
    "Status",
    "Store",
    "create_app",
    "forget",
    "index",
    "open_image_source",
    "open_searcher",
    "read_original",
    "status",
]
