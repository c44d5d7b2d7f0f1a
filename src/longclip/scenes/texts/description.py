"""Long description of a scene: its summary, then a sentence for each thing in the picture."""

from collections.abc import Iterable
from random import Random

from longclip.scenes.compose import stream
from longclip.scenes.graph import Person, Scene, Thing
from longclip.scenes.texts.phrases import (
    BACKDROPS,
    SURFACES,
    Placed,
    article,
    capitalized,
    direction,
    house_phrase,
    landmark_phrase,
    person_phrase,
    reference,
    side,
    thing_phrase,
    trees_phrase,
)
from longclip.scenes.texts.summary import summarize
from longclip.scenes.vocabulary import LANDMARKS

_STANDS = (("stands", "stand"), ("is placed", "are placed"))
_DRIVES = (("drives", "drive"), ("rolls", "roll"))
_SWIMS = (("swims", "swim"), ("floats", "float"))
_GRAZES = (("grazes", "graze"), ("stands", "stand"))

# By kind: a choice of verbs, each in the singular and in the plural.
_VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "car": _DRIVES,
    "bus": _DRIVES,
    "van": _DRIVES,
    "truck": _DRIVES,
    "tram": (("passes", "pass"), ("runs", "run")),
    "tractor": (("works", "work"), ("rolls", "roll")),
    "sailing boat": (("glides", "glide"), ("floats", "float")),
    "rowing boat": (("floats", "float"), ("lies", "lie")),
    "steamboat": (("steams", "steam"), ("passes", "pass")),
    "swan": _SWIMS,
    "duck": _SWIMS,
    "cow": _GRAZES,
    "sheep": _GRAZES,
    "horse": _GRAZES,
    "haystack": (("lies", "lie"), ("rests", "rest")),
    "fountain": (("splashes", "splash"), ("stands", "stand")),
    "statue": _STANDS,
    "market stall": _STANDS,
    "dog": (("stands", "stand"), ("waits", "wait")),
    "bench": _STANDS,
    "bicycle": (("is parked", "are parked"), ("stands", "stand")),
    "tulip": (("grows", "grow"), ("blooms", "bloom")),
    "street lamp": (("glows", "glow"), ("stands", "stand")),
    "postbox": _STANDS,
    "barrel": _STANDS,
    "ball": (("lies", "lie"), ("rests", "rest")),
    "tent": (("is pitched", "are pitched"), ("stands", "stand")),
    "parasol": (("is open", "are open"), ("stands", "stand")),
}

_GROUNDS: dict[str, tuple[str, ...]] = {
    "city street": (
        "a dark road with white marks crosses the picture in front of a grey pavement",
        "white dashes divide the asphalt road behind the pavement",
    ),
    "town square": (
        "the ground is covered with pale paving stones",
        "large sandy stone slabs pave the ground",
    ),
    "park": (
        "a pond lies behind the lawn in front",
        "a strip of lawn borders the quiet pond",
    ),
    "beach": (
        "a strip of sand lies in front of the sea",
        "the sea meets the sand in a line of white foam",
    ),
    "harbour": (
        "the quay in front is made of wooden planks",
        "wooden planks form the quay before the dark water",
    ),
    "lake": (
        "reeds grow along the near shore of the lake",
        "a shore with reeds borders the blue water",
    ),
    "farm": (
        "a wooden fence runs in front of the field",
        "behind a wooden fence lies a field with furrows",
    ),
    "mountain village": (
        "an unpaved road crosses the picture behind a meadow",
        "a meadow with a few stones lies before the dirt road",
    ),
}

_CLOUDS = (
    "large clouds cover the upper part of the sky",
    "clouds drift across the sky",
    "a row of clouds hangs in the sky",
)
_RAIN = (
    "rain falls from dark clouds",
    "dark clouds hang low and rain streaks the air",
    "it is raining from heavy clouds",
)
_SNOW = (
    "snow is falling and the ground is white",
    "snowflakes fall from the clouds onto white ground",
    "the ground is covered with snow and more is falling",
)
_FOG = (
    "thick fog hides much of the distance",
    "pale fog lies over everything far away",
    "the distance fades into fog",
)
_CLEAR = {
    "morning": ("the low sun shines in a pale sky", "the sun has just come up into a pale sky"),
    "noon": ("the sun stands high in a bright blue sky", "a high sun shines in the blue sky"),
    "sunset": (
        "the large sun sinks through an orange and purple sky",
        "the setting sun colours the sky orange and purple",
    ),
}

# By weather and time of day. The clear night is missing: its sentences name the scene's moon.
_SKIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("clear", time): sentences for time, sentences in _CLEAR.items()
} | {
    (weather, time): sentences
    for weather, sentences in (
        ("cloudy", _CLOUDS),
        ("rainy", _RAIN),
        ("snowy", _SNOW),
        ("foggy", _FOG),
    )
    for time in ("morning", "noon", "sunset", "night")
}


def describe(scene: Scene) -> str:
    """Return the whole picture in words, 120 of them on average and rarely more than 150.

    Every attribute of everything in the scene is named, so a description fits no other member of
    a group. Sentences come in any order after the summary, except in grouped scenes: there
    landmark, backdrop, middle and front row, which tell the members apart, come last.
    """
    early, late = sentences(scene)
    order = stream(scene.seed, "order")
    order.shuffle(early)
    if scene.grouped:
        ordered = [*early, *(late[topic] for topic in in_order(scene, late))]
    else:
        ordered = [*early, *late.values()]
        order.shuffle(ordered)
    return as_text(summarize(scene), ordered)


def sentences(scene: Scene) -> tuple[list[str], dict[str, str]]:
    """Return the sentences behind the summary, without their periods: a list, and others by topic.

    The list has what the members of a group share, the topics what tells them apart: landmark,
    backdrop, and each thing of the middle and the front row.
    """

    def wording(topic: str) -> Random:
        # Each sentence draws from a stream of its own: one more choice in one of them leaves the
        # words of all others as they are.
        return stream(scene.seed, "wording", topic)

    early = [
        _house_sentence(scene, wording("house")),
        _trees_sentence(scene, wording("trees")),
        _sky_sentence(scene, wording("sky")),
    ]
    if scene.flyer is not None:
        early.append(_flyer_sentence(scene.flyer, wording("flyer")))
    rng = wording("ground")
    # Groups need the length to keep their differences beyond token 77.
    if scene.grouped or rng.random() < 0.2:
        early.append(rng.choice(_GROUNDS[scene.setting]))

    late = {
        "landmark": _landmark_sentence(scene, wording("landmark")),
        "backdrop": _backdrop_sentence(scene, wording("backdrop")),
    }
    for thing in scene.middle:
        topic = f"middle {thing.side}"
        late[topic] = _middle_sentence(scene, thing, wording(topic))
    for something in scene.front:
        topic = f"front {something.side}"
        late[topic] = (
            _person_sentence(something, wording(topic))
            if isinstance(something, Person)
            else _prop_sentence(scene, something, wording(topic))
        )
    return early, late


def in_order(scene: Scene, late: Iterable[str]) -> list[str]:
    """Return the topics in the order in which a grouped scene has them.

    It is one of the places, not of the sentences: members may have different sentences.
    """
    return sorted(late, key=lambda topic: stream(scene.seed, topic).random())


def as_text(summary: str, following: Iterable[str]) -> str:
    """Return a summary and the sentences that follow it as one text."""
    return " ".join([summary, *(f"{capitalized(sentence)}." for sentence in following)])


def _landmark_sentence(scene: Scene, rng: Random) -> str:
    landmark = scene.landmark
    wall_part, roof_part = LANDMARKS[landmark.kind]
    wall, roof = f"{landmark.wall} {wall_part}", f"{landmark.roof} {roof_part}"
    wall = wall if wall.endswith("s") else article(wall)
    roof = roof if roof.endswith("s") else article(roof)
    where = side(rng, landmark.side)
    return rng.choice(
        (
            f"the {landmark.kind} {where} has {wall} and {roof}",
            f"{where} stands the {landmark.kind} with {wall} and {roof}",
            f"the {landmark.kind} has {wall} and {roof} and stands {where}",
            f"{landmark_phrase(landmark, wall=True, roof=True)} rises {where}",
        )
    )


def _trees_sentence(scene: Scene, rng: Random) -> str:
    trees = scene.trees
    verb = rng.choice(("grow", "stand")) + ("s" if trees.count == 1 else "")
    phrase, where = trees_phrase(trees, rng), side(rng, trees.side)
    beside = _relation(trees, scene.house if scene.grouped else scene.landmark)
    return rng.choice(
        (
            f"{phrase} {verb} {where}",
            f"{where} {verb} {phrase}",
            f"{where}, {phrase} {verb} {beside}",
        )
    )


def _relation(one: Placed, other: Placed) -> str:
    return f"to the {direction(one, other)} of {reference(other)}"


def _sky_sentence(scene: Scene, rng: Random) -> str:
    if scene.weather == "clear" and scene.time_of_day == "night":
        return rng.choice(
            (
                f"{article(scene.moon)} moon and many stars shine in the dark sky",
                f"the dark sky is full of stars around {article(scene.moon)} moon",
                f"{article(scene.moon)} moon shines among the stars",
            )
        )
    return rng.choice(_SKIES[scene.weather, scene.time_of_day])


def _backdrop_sentence(scene: Scene, rng: Random) -> str:
    phrase = rng.choice(BACKDROPS[scene.backdrop])
    # "a dark forest" and "a city skyline" are one thing, hills and buildings are many.
    s = "s" if phrase.startswith(("a ", "the ")) else ""
    return rng.choice(
        (
            f"{phrase} line{s} the horizon",
            f"in the background {phrase} can be seen",
            f"{phrase} rise{s} in the distance",
            f"behind everything lie{s} {phrase}",
        )
    )


def _flyer_sentence(flyer: Thing, rng: Random) -> str:
    phrase, where = thing_phrase(flyer), side(rng, flyer.side)
    s = "s" if flyer.count == 1 else ""
    choices = [
        f"{phrase} {'floats' if s else 'float'} in the sky {where}",
        f"high above {where}, {phrase} can be seen",
    ]
    if flyer.facing:
        choices.append(f"{phrase} {where} heads towards the {flyer.facing}")
    return rng.choice(choices)


def _house_sentence(scene: Scene, rng: Random) -> str:
    house = scene.house
    full = house_phrase(house, wall=True, roof=True, door=True)
    where = side(rng, house.side)
    # What comes late is not named early.
    other = scene.trees if scene.grouped else rng.choice((scene.landmark, scene.trees))
    relation = _relation(house, other)
    if scene.grouped:
        # The longest way to say it, for the same reason as the ground.
        return f"{full} stands {relation}, {where}"
    return rng.choice(
        (
            f"{where} there is {full}",
            f"{full} stands {relation}, {where}",
            f"{where} stands {full}",
            f"the house {where} has {house.wall} walls, {article(f'{house.roof} roof')}"
            f" and {article(f'{house.door} door')}",
        )
    )


def _middle_sentence(scene: Scene, thing: Thing, rng: Random) -> str:
    phrase, where = thing_phrase(thing), side(rng, thing.side)
    surface = rng.choice(SURFACES[scene.setting])
    verb = rng.choice(_VERBS[thing.kind])[0 if thing.count == 1 else 1]
    back_row = (scene.landmark, scene.house, scene.trees)
    behind = next(placed for placed in back_row if placed.side == thing.side)
    before = f"in front of {reference(behind)}"
    heading = f" towards the {thing.facing}" if thing.facing else ""
    return rng.choice(
        (
            f"{phrase} {verb} {surface} {where}",
            f"{surface} {where}, {phrase} {verb}{heading}",
            f"{where}, {before}, {phrase} {verb}",
            f"{phrase} {verb} {before} {where}",
        )
    )


def _person_sentence(person: Person, rng: Random) -> str:
    who = person_phrase(person, rng, hat=True, item=False)
    where = side(rng, person.side)
    item = article(f"{person.item_colour} {person.item}") if person.item else ""
    hold = "carries" if person.item == "suitcase" else rng.choice(("holds", "carries"))
    verb = rng.choice(("stands", "waits", "is standing"))
    style = rng.randrange(3)
    if not person.item:
        return (
            f"{who} {verb} {where} in front",
            f"in front {where} {verb} {who}",
            f"{who} {verb} {where} in the foreground",
        )[style]
    return (
        f"{who} {hold} {item} {where} in front",
        f"in front {where}, {who} {hold} {item}",
        f"{who} {verb} {where} in the foreground with {item}",
    )[style]


def _prop_sentence(scene: Scene, thing: Thing, rng: Random) -> str:
    phrase, where = thing_phrase(thing), side(rng, thing.side)
    verb = rng.choice(_VERBS[thing.kind])[0 if thing.count == 1 else 1]
    people = [other for other in scene.front if isinstance(other, Person)]
    other = rng.choice(people)
    be = "is" if thing.count == 1 else "are"
    return rng.choice(
        (
            f"{phrase} {verb} {where} in front",
            f"in front {where} there {be} {phrase}",
            f"{phrase} {verb} {where}, {_relation(thing, other)}",
            f"{where} in front, {phrase} {verb}",
        )
    )
