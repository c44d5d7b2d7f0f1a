"""Attributes of a scene in a few words each: what a caption can say of one thing."""

from dataclasses import replace

from longclip.scenes.graph import Person, Scene, Thing
from longclip.scenes.texts.phrases import (
    BACKDROPS,
    TREE_NOUNS,
    Placed,
    article,
    counted,
    house_phrase,
    landmark_phrase,
    reference,
    thing_phrase,
)
from longclip.scenes.texts.summary import PLACES
from longclip.scenes.texts.web_captions import TIMES, WEATHERS

_SIDES = {
    "left": ("on the left", "at the left"),
    "middle": ("in the centre", "in the middle"),
    "right": ("on the right", "at the right"),
}


def attributes(scene: Scene) -> tuple[tuple[str, ...], ...]:
    """Return all attributes of what is in the scene, each as the wordings that it can have.

    Two scenes have an attribute in common where they have the same wordings: it says no more than
    they do.
    """
    landmark, house, trees = scene.landmark, scene.house, scene.trees
    found: list[tuple[str, ...]] = [
        (article(landmark.kind), f"a picture of {article(landmark.kind)}"),
        (landmark_phrase(landmark, wall=True, roof=False),),
        (landmark_phrase(landmark, wall=False, roof=True),),
        (
            house_phrase(house, wall=True, roof=False, door=False),
            f"a house with {house.wall} walls",
        ),
        (house_phrase(house, wall=False, roof=True, door=False),),
        (house_phrase(house, wall=False, roof=False, door=True),),
        tuple(counted(trees.count, noun) for noun in TREE_NOUNS[trees.kind]),
        PLACES[scene.setting][0],
        TIMES[scene.time_of_day],
        WEATHERS[scene.weather],
        BACKDROPS[scene.backdrop],
    ]
    flyer = () if scene.flyer is None else (scene.flyer,)
    things: tuple[Placed, ...] = (landmark, house, trees, *scene.middle, *scene.front, *flyer)
    for thing in things:
        found.append(tuple(f"{reference(thing)} {where}" for where in _SIDES[thing.side]))
        if isinstance(thing, Person):
            found += _of_person(thing)
        elif isinstance(thing, Thing):
            found.append((counted(thing.count, thing.kind),))
            if thing.colour:
                found.append((thing_phrase(thing, accent=False),))
            if thing.accent:
                found.append((thing_phrase(replace(thing, colour="")),))
    return tuple(found)


def _of_person(person: Person) -> list[tuple[str, ...]]:
    who = article(person.kind)
    garments = ("coat", "jacket", *(("dress",) if person.kind in ("woman", "girl") else ()))
    coats = (article(f"{person.coat} {garment}") for garment in garments)
    found = [(who,), tuple(f"{who} in {coat}" for coat in coats)]
    if person.hat:
        hat = article(f"{person.hat} hat")
        found.append((f"{who} in {hat}", f"{who} with {hat}"))
    if person.item:
        found.append((f"{who} with {article(f'{person.item_colour} {person.item}')}",))
    return found
