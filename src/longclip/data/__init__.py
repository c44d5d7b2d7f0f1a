"""Collections of captioned and labelled images, by name or path."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.data.captions import Captions as Captions
    from longclip.data.captions import TextPolicy as TextPolicy
    from longclip.data.captions import sample_texts as sample_texts
    from longclip.data.collection import Choice as Choice
    from longclip.data.collection import ChoiceSet as ChoiceSet
    from longclip.data.collection import Collection as Collection
    from longclip.data.collection import LabelSet as LabelSet
    from longclip.data.mixture import Mixture as Mixture
    from longclip.data.mixture import Part as Part
    from longclip.data.mixture import join as join
    from longclip.data.open import open_collection as open_collection
    from longclip.data.open import open_for_evaluation as open_for_evaluation
    from longclip.data.open import open_training_data as open_training_data
    from longclip.data.scenes import ScenesCollection as ScenesCollection
    from longclip.data.tables.columns import Columns as Columns
    from longclip.data.tar.shard_cache import ShardCache as ShardCache
    from longclip.errors import DataError as DataError

export_lazily(__name__)
