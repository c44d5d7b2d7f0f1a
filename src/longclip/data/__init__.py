"""Collections of captioned and labelled images, by name or path."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import DataError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.data.captions import TextPolicy, Texts, sample_texts
    from longclip.data.collection import (
        Captions,
        Collection,
        LabelSet,
        blocks_of,
        problems_of,
    )
    from longclip.data.joined import join
    from longclip.data.mixture import Mixture, Part
    from longclip.data.open import open_collection, open_for_evaluation, open_training_data
    from longclip.data.scenes import ScenesCollection
    from longclip.data.shard_cache import ShardCache
    from longclip.data.table import Columns

_EXPORTS = {
    "Captions": "collection",
    "Collection": "collection",
    "Columns": "table",
    "LabelSet": "collection",
    "Mixture": "mixture",
    "Part": "mixture",
    "ScenesCollection": "scenes",
    "ShardCache": "shard_cache",
    "TextPolicy": "captions",
    "Texts": "captions",
    "blocks_of": "collection",
    "join": "joined",
    "open_collection": "open",
    "open_for_evaluation": "open",
    "open_training_data": "open",
    "problems_of": "collection",
    "sample_texts": "captions",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "Captions",
    "Collection",
    "Columns",
    "LabelSet",
    "Mixture",
    "Part",
    "ScenesCollection",
    "ShardCache",
    "TextPolicy",
    "Texts",
    "blocks_of",
    "join",
    "open_collection",
    "open_for_evaluation",
    "open_training_data",
    "problems_of",
    "sample_texts",
]
