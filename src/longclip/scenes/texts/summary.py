"""Summary of a scene: one sentence for the whole, without its details."""

from random import Random

from longclip.scenes.compose import stream
from longclip.scenes.graph import Scene
from longclip.scenes.texts.phrases import (
    BACKDROPS,
    MAX_SHORT_WORDS,
    article,
    capitalized,
    house_phrase,
    landmark_phrase,
    trees_phrase,
)

PLACES = {
    "city street": (("a city street", "a street in a city"), "on"),
    "town square": (("a town square", "a paved town square"), "on"),
    "park": (("a park", "a park with a pond"), "in"),
    "beach": (("a beach", "a sandy beach"), "on"),
    "harbour": (("a harbour", "a small harbour"), "at"),
    "lake": (("a lake", "a calm lake"), "by"),
    "farm": (("a farm", "a wheat farm"), "on"),
    "mountain village": (("a mountain village", "a village in the mountains"), "in"),
}


def occasion(scene: Scene, rng: Random) -> str:
    """Name time and weather: "on a rainy morning", "at noon under a clear sky" …"""
    time, weather = scene.time_of_day, scene.weather
    choices = {
        "morning": (f"on {article(weather)} morning", f"in the morning on {article(weather)} day"),
        "noon": (f"at noon on {article(weather)} day", f"at {article(weather)} noon"),
        "sunset": (f"at sunset on {article(weather)} day", f"at {article(weather)} sunset"),
        "night": (f"on {article(weather)} night", f"at night in {weather} weather"),
    }[time]
    tail = {
        "clear": "under a clear sky",
        "cloudy": "under a cloudy sky",
        "rainy": "in the rain",
        "snowy": "in the snow",
        "foggy": "in the fog",
    }[weather]
    plain = {
        "morning": "in the morning",
        "noon": "at noon",
        "sunset": "at sunset",
        "night": "at night",
    }[time]
    return rng.choice((*choices, f"{plain} {tail}"))


def summarize(scene: Scene) -> str:
    """Return at most 20 words: setting, landmark, time and weather, sometimes one thing more.

    The members of a group have the same summary, one that does not name the landmark. Those of
    `alike` scenes name landmark and house in the same words but for the colours.
    """
    rng = stream(scene.seed, "summary")
    if scene.grouped:
        return capitalized(_shared_summary(scene, rng)) + "."
    if scene.alike:
        return capitalized(_colours_summary(scene, rng)) + "."
    wall, roof = rng.choice(
        ((False, False), (True, False), (True, False), (False, True), (True, True))
    )
    landmark = landmark_phrase(scene.landmark, wall=wall, roof=roof)
    places, preposition = PLACES[scene.setting]
    place = rng.choice(places)
    when = occasion(scene, rng)
    behind = rng.choice(BACKDROPS[scene.backdrop])
    template = rng.randrange(6)
    if template == 0:
        text = f"{landmark} {rng.choice(('stands', 'rises'))} {preposition} {place} {when}"
    elif template == 1:
        text = f"{place} and {landmark} {when}"
    elif template == 2:
        text = f"{when}, {landmark} {rng.choice(('stands', 'rises'))} {preposition} {place}"
    elif template == 3 and not (wall and roof):
        text = f"{rng.choice(('a view', 'a picture'))} of {place} and {landmark} {when}"
    elif template == 4 and not roof:
        text = f"{place} {when}, with {landmark} and {behind}"
    else:
        text = f"{landmark} and {trees_phrase(scene.trees, rng)} {preposition} {place} {when}"
    if len(text.split()) > MAX_SHORT_WORDS:
        text = (
            f"{landmark_phrase(scene.landmark, wall=wall, roof=False)} {preposition} {place} {when}"
        )
    return capitalized(text) + "."


def _colours_summary(scene: Scene, rng: Random) -> str:
    places, preposition = PLACES[scene.setting]
    place, time = places[0], scene.time_of_day
    # `occasion` can take more words than there is room for.
    when = f"{'at' if time in ('noon', 'sunset') else 'on'} {article(scene.weather)} {time}"
    landmark = landmark_phrase(scene.landmark, wall=True, roof=False)
    house = house_phrase(scene.house, wall=True, roof=True, door=False)
    return rng.choice(
        (
            f"{landmark} and {house} {preposition} {place} {when}",
            f"{when}, {landmark} and {house} {preposition} {place}",
        )
    )


def _shared_summary(scene: Scene, rng: Random) -> str:
    places, preposition = PLACES[scene.setting]
    place, when = rng.choice(places), occasion(scene, rng)
    things = f"a house and {trees_phrase(scene.trees, rng)}"
    choices = (
        f"{place} {when}, with {things}",
        f"{when}, {things} stand {preposition} {place}",
        f"{rng.choice(('a view', 'a picture'))} of {place} with {things} {when}",
    )
    text = rng.choice(choices)
    return (
        text
        if len(text.split()) <= MAX_SHORT_WORDS
        else f"{place} {when}, with a small house and some trees"
    )
