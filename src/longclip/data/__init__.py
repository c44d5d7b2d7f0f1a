"""Collections of captioned and labelled images, by name or path."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.data.collection import Captions, Collection, LabelSet
    from longclip.data.opening import join, open_collection, open_for_evaluation
    from longclip.data.scenes import ScenesCollection
    from longclip.data.tables import Columns, DataError

_EXPORTS = {
    "Captions": "collection",
    "Collection": "collection",
    "Columns": "tables",
    "DataError": "tables",
    "LabelSet": "collection",
    "ScenesCollection": "scenes",
    "join": "opening",
    "open_collection": "opening",
    "open_for_evaluation": "opening",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "Captions",
    "Collection",
    "Columns",
    "DataError",
    "LabelSet",
    "ScenesCollection",
    "join",
    "open_collection",
    "open_for_evaluation",
]
