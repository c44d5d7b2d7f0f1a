"""The embedded data set: drawn scenes, each with short captions and a long description.

Pictures and texts are pure functions of a split and an index; nothing is stored or downloaded.
"""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.scenes.captions import landmark_tags, short_captions, tags
    from longclip.scenes.compose import make_scene, split_size
    from longclip.scenes.description import describe
    from longclip.scenes.drawing import draw
    from longclip.scenes.label_sets import CLASSES, PROMPTS, labels
    from longclip.scenes.scene_graph import Scene
    from longclip.scenes.summary import summarize

# No submodule may be called like a function: importing it would bind the module over the function.
_EXPORTS = {
    "CLASSES": "label_sets",
    "PROMPTS": "label_sets",
    "Scene": "scene_graph",
    "describe": "description",
    "draw": "drawing",
    "labels": "label_sets",
    "landmark_tags": "captions",
    "make_scene": "compose",
    "short_captions": "captions",
    "split_size": "compose",
    "summarize": "summary",
    "tags": "captions",
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
