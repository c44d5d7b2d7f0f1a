"""Zero-shot classification tasks, read off the scene graph."""

from longclip.scenes import vocabulary
from longclip.scenes.graph import Scene
from longclip.scenes.texts.phrases import TREE_NOUNS

_TREES = {kind: nouns[0] for kind, nouns in TREE_NOUNS.items()}
_PLACES = {"left": "on the left", "middle": "in the centre", "right": "on the right"}

CLASSES: dict[str, tuple[str, ...]] = {
    "setting": vocabulary.SETTINGS,
    "landmark": tuple(vocabulary.LANDMARKS),
    "time of day": vocabulary.TIMES,
    "weather": vocabulary.WEATHERS,
    "trees": tuple(_TREES.values()),
    "house colour": vocabulary.WALLS,
    "roof colour": vocabulary.ROOFS,
    "door colour": vocabulary.DOORS,
    "house place": tuple(_PLACES.values()),
}

PROMPTS: dict[str, tuple[str, ...]] = {
    "setting": ("a picture of a {}.", "a view of a {}.", "a {} with a house and trees."),
    "landmark": ("a picture of a {}.", "a view of a {}.", "a {} and a house."),
    "time of day": ("a picture at {}.", "a house and trees at {}.", "a scene, {}."),
    "weather": ("a picture on a {} day.", "a {} day.", "a house in {} weather."),
    "trees": ("a {} and a house.", "a picture of a {}."),
    "house colour": ("a {} house.", "a picture of a {} house."),
    "roof colour": ("a house with a {} roof.", "a picture of a house with a {} roof."),
    "door colour": ("a house with a {} door.", "a picture of a house with a {} door."),
    "house place": ("a house {}.", "the house is {}."),
}
"""Templates of each task's texts; `{}` stands for the name of a class."""


def labels(scene: Scene) -> dict[str, str]:
    """Return the class of `scene` in each task of `CLASSES`."""
    return {
        "setting": scene.setting,
        "landmark": scene.landmark.kind,
        "time of day": scene.time_of_day,
        "weather": scene.weather,
        "trees": _TREES[scene.trees.kind],
        "house colour": scene.house.wall,
        "roof colour": scene.house.roof,
        "door colour": scene.house.door,
        "house place": _PLACES[scene.house.side],
    }
