"""Databases of images that are found by descriptions of any length."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import FilterError, SearchError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.search.about import About
    from longclip.search.ann import IndexQuality
    from longclip.search.cluster.config import Cluster
    from longclip.search.contents import Status, status
    from longclip.search.indexing import forget, index
    from longclip.search.query import Found, FoundImage, Query
    from longclip.search.reader import Hit, Reader
    from longclip.search.report import IndexReport
    from longclip.search.rows import Facts, Row
    from longclip.search.searcher import Searcher, open_searcher
    from longclip.search.service.app import create_app
    from longclip.search.sources.image_source import ImageSource, Item, Listing
    from longclip.search.sources.open_image_source import open_image_source, read_original
    from longclip.search.store import Store

_EXPORTS = {
    "About": "about",
    "Cluster": "cluster.config",
    "Facts": "rows",
    "Found": "query",
    "FoundImage": "query",
    "Hit": "reader",
    "ImageSource": "sources.image_source",
    "IndexQuality": "ann",
    "IndexReport": "report",
    "Item": "sources.image_source",
    "Listing": "sources.image_source",
    "Query": "query",
    "Reader": "reader",
    "Row": "rows",
    "Searcher": "searcher",
    "Status": "contents",
    "Store": "store",
    "create_app": "service.app",
    "forget": "indexing",
    "index": "indexing",
    "open_searcher": "searcher",
    "open_image_source": "sources.open_image_source",
    "read_original": "sources.open_image_source",
    "status": "contents",
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
