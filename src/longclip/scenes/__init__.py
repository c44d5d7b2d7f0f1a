"""The embedded data set: drawn scenes, each with short captions and a long description.

Pictures and texts are pure functions of a split and an index; nothing is stored or downloaded.
"""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.scenes.compose import make_scene, split_size
    from longclip.scenes.graph import Scene
    from longclip.scenes.label_sets import CLASSES, PROMPTS, labels
    from longclip.scenes.pictures.picture import draw
    from longclip.scenes.texts.description import describe
    from longclip.scenes.texts.summary import summarize
    from longclip.scenes.texts.web_captions import landmark_tags, short_captions, tags

# No submodule may be called like a function: importing it would bind the module over the function.
_EXPORTS = {
    "CLASSES": "label_sets",
    "PROMPTS": "label_sets",
    "Scene": "graph",
    "describe": "texts.description",
    "draw": "pictures.picture",
    "labels": "label_sets",
    "landmark_tags": "texts.web_captions",
    "make_scene": "compose",
    "short_captions": "texts.web_captions",
    "split_size": "compose",
    "summarize": "texts.summary",
    "tags": "texts.web_captions",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "CLASSES",
    "PROMPTS",
    "Scene",
    "describe",
    "draw",
    "labels",
    "landmark_tags",
    "make_scene",
    "short_captions",
    "split_size",
    "summarize",
    "tags",
]
