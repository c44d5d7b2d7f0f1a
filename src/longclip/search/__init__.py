"""Databases of images that are found by descriptions of any length."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.errors import FilterError as FilterError
    from longclip.errors import SearchError as SearchError
    from longclip.search.config import Cluster as Cluster
    from longclip.search.config import IndexConfig as IndexConfig
    from longclip.search.database.reader import Hit as Hit
    from longclip.search.database.reader import Status as Status
    from longclip.search.database.reader import status as status
    from longclip.search.database.schema import About as About
    from longclip.search.database.schema import Facts as Facts
    from longclip.search.database.schema import IndexQuality as IndexQuality
    from longclip.search.database.store import Store as Store
    from longclip.search.indexing.index import forget as forget
    from longclip.search.indexing.index import index as index
    from longclip.search.indexing.outcomes import IndexReport as IndexReport
    from longclip.search.query.open import open_searcher as open_searcher
    from longclip.search.query.query import Found as Found
    from longclip.search.query.query import FoundImage as FoundImage
    from longclip.search.query.query import Query as Query
    from longclip.search.query.searcher import QueryVectors as QueryVectors
    from longclip.search.query.searcher import Reading as Reading
    from longclip.search.query.searcher import Searcher as Searcher
    from longclip.search.service.server import create_app as create_app
    from longclip.search.sources.open_image_source import open_image_source as open_image_source

export_lazily(__name__)
