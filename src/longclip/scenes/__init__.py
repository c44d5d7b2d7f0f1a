"""The embedded data set: drawn scenes, each with short captions and a long description.

Pictures and texts are pure functions of a split and an index; nothing is stored or downloaded.
"""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

# No submodule may be called like a function: importing it would bind the module over the function.
if TYPE_CHECKING:
    from longclip.scenes.compose import make_scene as make_scene
    from longclip.scenes.compose import split_size as split_size
    from longclip.scenes.contradiction import contradict as contradict
    from longclip.scenes.graph import Scene as Scene
    from longclip.scenes.label_sets import CLASSES as CLASSES
    from longclip.scenes.label_sets import PROMPTS as PROMPTS
    from longclip.scenes.label_sets import labels as labels
    from longclip.scenes.pictures.picture import draw as draw
    from longclip.scenes.texts.attributes import attributes as attributes
    from longclip.scenes.texts.description import describe as describe
    from longclip.scenes.texts.longest import longest_description as longest_description
    from longclip.scenes.texts.summary import summarize as summarize
    from longclip.scenes.texts.web_captions import short_captions as short_captions

export_lazily(__name__)
