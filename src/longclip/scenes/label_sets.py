"""Zero-shot classification tasks, read off the scene graph."""

from longclip.scenes import vocabulary
from longclip.scenes.graph import Scene

CLASSES: dict[str, tuple[str, ...]] = {
    "setting": vocabulary.SETTINGS,
    "landmark": tuple(vocabulary.LANDMARKS),
    "time of day": vocabulary.TIMES,
    "weather": vocabulary.WEATHERS,
}

PROMPTS: dict[str, tuple[str, ...]] = {
    "setting": ("a picture of a {}.", "a view of a {}.", "a {} with a house and trees."),
    "landmark": ("a picture of a {}.", "a view of a {}.", "a {} and a house."),
    "time of day": ("a picture at {}.", "a house and trees at {}.", "a scene, {}."),
    "weather": ("a picture on a {} day.", "a {} day.", "a house in {} weather."),
}
"""Templates of each task's texts; `{}` stands for the name of a class."""


def labels(scene: Scene) -> dict[str, str]:
    """Return the class of `scene` in each task of `CLASSES`."""
    return {
        "setting": scene.setting,
        "landmark": scene.landmark.kind,
        "time of day": scene.time_of_day,
        "weather": scene.weather,
    }
