"""Contradiction of a scene: another scene that a description of this one does not fit."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from longclip.scenes import vocabulary as v
from longclip.scenes.compose import stream
from longclip.scenes.graph import Person, Scene, Thing
from longclip.scenes.texts.description import describe


def contradict(scene: Scene) -> Scene:
    """Return the scene with one colour changed: the one that its description names last.

    The descriptions of both have the same words but for that colour.
    """
    true = describe(scene)

    def agreement(other: Scene) -> int:
        pairs = zip(true, describe(other), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(_recoloured(scene), key=agreement)


def _recoloured(scene: Scene) -> Iterator[Scene]:
    """Yield the scene with each colour of the landmark, the middle and the front row changed."""
    dice = stream(scene.seed, scene.index, "contradiction")

    def other(colours: Sequence[str], now: str) -> str:
        return dice.choice([colour for colour in colours if colour != now])

    landmark = scene.landmark
    yield replace(scene, landmark=replace(landmark, wall=other(v.WALLS, landmark.wall)))
    yield replace(scene, landmark=replace(landmark, roof=other(v.ROOFS, landmark.roof)))

    def of_thing(thing: Thing) -> Iterator[Thing]:
        colours, accents, *_ = v.LOOKS[thing.kind]
        if thing.colour:
            yield replace(thing, colour=other(colours, thing.colour))
        if thing.accent:
            yield replace(thing, accent=other(accents, thing.accent))

    def of_person(person: Person) -> Iterator[Person]:
        yield replace(person, coat=other(v.CLOTHES, person.coat))
        if person.hat:
            yield replace(person, hat=other(v.CLOTHES, person.hat))
        if person.item:
            yield replace(person, item_colour=other(v.BRIGHT, person.item_colour))

    for place, thing in enumerate(scene.middle):
        for changed in of_thing(thing):
            row = (*scene.middle[:place], changed, *scene.middle[place + 1 :])
            yield replace(scene, middle=row)
    for place, one in enumerate(scene.front):
        for someone in of_person(one) if isinstance(one, Person) else of_thing(one):
            front = (*scene.front[:place], someone, *scene.front[place + 1 :])
            yield replace(scene, front=front)
