"""Short captions in the manner of the web: the summary, then a few details each."""

from random import Random

from longclip.scenes.compose import stream
from longclip.scenes.graph import House, Landmark, Person, Scene, Trees
from longclip.scenes.texts.phrases import (
    BACKDROPS,
    MAX_SHORT_WORDS,
    Placed,
    depth,
    direction,
    house_phrase,
    landmark_phrase,
    person_phrase,
    reference,
    thing_phrase,
    trees_phrase,
)
from longclip.scenes.texts.summary import PLACES, occasion, summarize

TIMES = {
    "morning": ("in the morning", "in morning light"),
    "noon": ("at noon", "in the middle of the day"),
    "sunset": ("at sunset", "at dusk"),
    "night": ("at night", "in the dark"),
}
WEATHERS = {
    "clear": ("on a clear day", "in fine weather"),
    "cloudy": ("under clouds", "on a cloudy day"),
    "rainy": ("in the rain", "on a rainy day"),
    "snowy": ("in the snow", "on a snowy day"),
    "foggy": ("in fog", "on a foggy day"),
}


def short_captions(scene: Scene) -> tuple[str, ...]:
    """Return five or six captions of at most 20 words, the first of them the summary.

    Together they name nearly everything in the scene, one or two things a caption.
    """
    rng = stream(scene.split, scene.index, "captions")
    placed: list[Placed] = [scene.landmark, scene.house, scene.trees, *scene.middle, *scene.front]
    rng.shuffle(placed)
    captions = [
        _pair_caption(scene, placed[i], placed[i + 1], rng)
        if i + 1 < len(placed)
        else _caption(scene, placed[i], rng)
        for i in range(0, len(placed), 2)
    ]
    if scene.flyer is not None and rng.random() < 0.5:
        captions[rng.randrange(len(captions))] = _caption(scene, scene.flyer, rng)
    else:
        captions.append(_view_caption(scene, rng))
    return (summarize(scene), *captions[:5])


def _phrase(placed: Placed, rng: Random) -> str:
    """Return a noun phrase that names some of the attributes."""
    coin, other = rng.random() < 0.6, rng.random() < 0.6
    if isinstance(placed, Landmark):
        return landmark_phrase(placed, wall=coin, roof=other)
    if isinstance(placed, House):
        wall, roof, door = rng.choice(
            ((True, True, False), (True, False, True), (False, True, True), (True, True, True))
        )
        return house_phrase(placed, wall=wall, roof=roof, door=door)
    if isinstance(placed, Trees):
        return trees_phrase(placed, rng)
    if isinstance(placed, Person):
        return person_phrase(placed, rng, hat=coin, item=other or not placed.hat)
    return thing_phrase(placed, accent=coin or not placed.colour)


def _caption(scene: Scene, placed: Placed, rng: Random) -> str:
    phrase = _phrase(placed, rng)
    places, preposition = PLACES[scene.setting]
    where = "in the centre" if placed.side == "middle" else f"on the {placed.side}"
    facing = getattr(placed, "facing", "")
    choices = [f"{phrase} {where}", f"{phrase} {where}, {rng.choice(TIMES[scene.time_of_day])}"]
    if placed is scene.flyer:
        choices.append(f"{phrase} in the sky above {places[0]}")
    else:
        choices.append(f"{phrase} {preposition} {places[0]} {rng.choice(WEATHERS[scene.weather])}")
    if facing:
        choices.append(f"{phrase} {where} facing {facing}")
    return rng.choice(_short_enough(choices))


def _pair_caption(scene: Scene, one: Placed, other: Placed, rng: Random) -> str:
    first, second = _phrase(one, rng), _phrase(other, rng)
    choices = [f"{first} and {second}", f"picture of {first} and {second}"]
    if one.side != other.side:
        side = direction(one, other)
        choices = [
            f"{first} {side} of {second}",
            f"{first} to the {side} of {reference(other)}",
            *choices,
        ]
    elif depth(scene, one) > depth(scene, other):
        choices = [f"{first} in front of {second}", *choices]
    elif depth(scene, one) < depth(scene, other):
        choices = [f"{first} behind {second}", *choices]
    fitting = _short_enough(choices)
    return rng.choice(fitting) if fitting else _caption(scene, one, rng)


def _view_caption(scene: Scene, rng: Random) -> str:
    behind = rng.choice(BACKDROPS[scene.backdrop])
    place = rng.choice(PLACES[scene.setting][0])
    kind = scene.landmark.kind
    choices = [
        f"{place} with {behind} in the background",
        f"{behind} behind the {kind}, {occasion(scene, rng)}",
        f"{kind} and {behind} {rng.choice(WEATHERS[scene.weather])}",
    ]
    if scene.weather == "clear" and scene.time_of_day == "night":
        choices.append(f"{scene.moon} moon over {place}")
    return rng.choice(_short_enough(choices))


def _short_enough(choices: list[str]) -> list[str]:
    return [text for text in choices if len(text.split()) <= MAX_SHORT_WORDS]
