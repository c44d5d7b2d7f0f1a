"""Longest description of a scene: everything that can be said of one picture, several times over.

A text as long as a long context must still be true of one picture. This one says what `describe`
says, then the same in other words, how each thing stands to every other, what is not there, and how
many there are of what: about 640 tokens (540 to 750), none of them filling.
"""

from collections.abc import Iterator, Sequence
from random import Random

from longclip.scenes import vocabulary as v
from longclip.scenes.compose import stream
from longclip.scenes.graph import Landmark, Person, Scene, Thing, Trees
from longclip.scenes.texts.description import as_text, in_order, sentences
from longclip.scenes.texts.phrases import (
    ACCENTS,
    PLURAL_ACCENTS,
    TREE_NOUNS,
    Placed,
    article,
    depth,
    direction,
    number,
    plural,
    reference,
)
from longclip.scenes.texts.summary import summarize

_NEVER = {
    "clear": "no rain or snow falls and there is no fog",
    "cloudy": "no rain or snow falls and there is no fog",
    "rainy": "no snow falls and there is no fog",
    "snowy": "no rain falls and there is no fog",
    "foggy": "no rain or snow falls",
}
_BACKDROPS = {
    "hills": "hill",
    "mountains": "mountain",
    "forest": "forest",
    "skyline": "city skyline",
    "cliffs": "cliff",
}
_MAX_LISTED = 4
"""Things that are not there, at most, in a sentence."""


def longest_description(scene: Scene) -> str:
    """Return the whole picture in as many words as are true of it, about 550.

    In grouped scenes what the members of a group share comes first, and only then what tells them
    apart: landmark, backdrop, middle and front row, each with how it stands to what was named
    before, and at last what is not there.
    """
    early, late = sentences(scene)
    told: list[Placed] = [scene.house, scene.trees]
    following = [*early, *_more_of_all(scene)]
    for topic in in_order(scene, late):
        following.append(late[topic])
        if topic == "backdrop":
            following += _more_of_backdrop(scene)
            continue
        placed = _at(scene, topic)
        following += _more(placed)
        following += [_relation(scene, placed, other) for other in told]
        told.append(placed)
    return as_text(summarize(scene), [*following, *_absent(scene)])


def _at(scene: Scene, topic: str) -> Landmark | Person | Thing:
    """Return what a topic of `sentences` is about, the backdrop's aside."""
    if topic == "landmark":
        return scene.landmark
    row, side = topic.split()
    found: Sequence[Person | Thing] = scene.middle if row == "middle" else scene.front
    return next(something for something in found if something.side == side)


def _wording(scene: Scene, *topic: str) -> Random:
    return stream(scene.seed, "longest", *topic)


def _be(placed: Placed) -> str:
    return "are" if isinstance(placed, Trees | Thing) and placed.count > 1 else "is"


def _more_of_all(scene: Scene) -> Iterator[str]:
    """Yield what else is true of all members of a group."""
    house, trees = scene.house, scene.trees
    yield f"the walls of the house are {house.wall}"
    yield f"{article(house.door)} door leads into the house under {article(house.roof)} roof"
    kind = _wording(scene, "trees").choice(TREE_NOUNS[trees.kind])
    if trees.count == 1:
        yield f"the tree is {article(kind)} and stands alone"
    else:
        yield f"the trees are {plural(kind)}, {number(trees.count)} of them"
    yield _relation(scene, house, trees)
    if scene.flyer is not None:
        way = direction(scene.flyer, trees)
        flyer, be = reference(scene.flyer), _be(scene.flyer)
        yield f"{flyer} {be} above the house and to the {way} of {reference(trees)}"
        yield from _more(scene.flyer)
    yield _NEVER[scene.weather]
    others = [time for time in v.TIMES if time != scene.time_of_day]
    yield f"it is {scene.time_of_day}, and neither {others[0]} nor {others[1]} nor {others[2]}"


def _more_of_backdrop(scene: Scene) -> Iterator[str]:
    others = [name for kind, name in _BACKDROPS.items() if kind != scene.backdrop]
    yield f"behind all this there is {_none_of(others)}"


def _more(placed: Landmark | Person | Thing) -> Iterator[str]:
    """Yield each attribute in a sentence of its own."""
    name, be = reference(placed), _be(placed)
    if isinstance(placed, Landmark):
        wall, roof = v.LANDMARKS[placed.kind]
        for colour, part in ((placed.wall, wall), (placed.roof, roof)):
            yield f"the {part} of {name} {'are' if part.endswith('s') else 'is'} {colour}"
        return
    if isinstance(placed, Person):
        yield f"{name} wears {placed.coat}"
        yield (
            f"{name} has {article(placed.hat)} hat on" if placed.hat else f"{name} has no hat on"
        )
        yield (
            f"the {placed.item} of {name} is {placed.item_colour}"
            if placed.item
            else f"the hands of {name} are empty"
        )
        return
    if placed.colour:
        yield f"the colour of {name} is {placed.colour}"
    if placed.accent:
        part = ACCENTS[placed.kind]
        several = part in PLURAL_ACCENTS
        yield (
            f"the {plural(part) if several else part} of {name} {'are' if several else 'is'} "
            f"{placed.accent}"
        )
    if placed.facing:
        yield f"{name} {be} turned to the {placed.facing}"
    if placed.count > 1:
        yield f"of {name} there are {number(placed.count)}"
    else:
        yield f"there is only one {placed.kind}"


def _relation(scene: Scene, one: Placed, other: Placed) -> str:
    """Say how one thing stands to another: beside it, or in front of it in the same place."""
    if one.side == other.side:
        near, far = sorted((one, other), key=lambda placed: -depth(scene, placed))
        return _wording(scene, *_places(scene, one, other)).choice(
            (
                f"{reference(near)} {_be(near)} in front of {reference(far)}",
                f"{reference(far)} {_be(far)} behind {reference(near)}",
            )
        )
    way, back = direction(one, other), direction(other, one)
    return _wording(scene, *_places(scene, one, other)).choice(
        (
            f"{reference(one)} {_be(one)} to the {way} of {reference(other)}",
            f"{reference(other)} {_be(other)} to the {back} of {reference(one)}",
            f"{reference(one)} {_be(one)} further {way} than {reference(other)}",
            f"{reference(other)} {_be(other)} further {back} than {reference(one)}",
        )
    )


def _places(scene: Scene, *placed: Placed) -> list[str]:
    """Name what the wording of a relation is drawn by: rows and sides."""
    return [f"{type(one).__name__} {depth(scene, one)} {one.side}" for one in placed]


def _absent(scene: Scene) -> Iterator[str]:
    """Yield what is not in the picture, though it could be: people, things, large buildings."""
    there = {something.kind for something in (*scene.middle, *scene.front)}
    people = [kind for kind in v.PEOPLE if kind not in there]
    count = len(v.PEOPLE) - len(people)
    yield f"there {'is one person' if count == 1 else 'are two people'} in the picture"
    yield f"the picture shows {_none_of(people)}"
    usual = dict.fromkeys((*v.MIDDLE[scene.setting], *v.FRONT[scene.setting]))
    yield from _lists([kind for kind in usual if kind not in there], "on the ground there is {}")
    landmarks = [kind for kind in v.LANDMARKS if kind != scene.landmark.kind]
    yield from _lists(landmarks, "among the buildings there is {}")
    flyer = scene.flyer.kind if scene.flyer else ""
    yield f"in the sky there is {_none_of([kind for kind in v.FLYERS if kind != flyer])}"


def _lists(kinds: Sequence[str], words: str) -> Iterator[str]:
    for start in range(0, len(kinds), _MAX_LISTED):
        yield words.format(_none_of(kinds[start : start + _MAX_LISTED]))


def _none_of(kinds: Sequence[str]) -> str:
    """Return "no hill, no forest and no cliff"."""
    *first, last = [f"no {kind}" for kind in kinds]
    return f"{', '.join(first)} and {last}" if first else last
