"""Scene graph: the one truth that a scene's picture and all of its texts are made from."""

from dataclasses import dataclass

SIDES = ("left", "middle", "right")


@dataclass(frozen=True)
class Landmark:
    """The large building (or wheel) of the back row; `wall` and `roof` colour its two parts."""

    kind: str
    side: str
    wall: str
    roof: str


@dataclass(frozen=True)
class House:
    """The small house of the back row."""

    side: str
    wall: str
    roof: str
    door: str


@dataclass(frozen=True)
class Trees:
    """One to three trees of a kind, in the back row."""

    kind: str
    side: str
    count: int


@dataclass(frozen=True)
class Person:
    """A person in the front row. `hat` and `item` are "" where there is none."""

    kind: str
    side: str
    coat: str
    hat: str = ""
    item: str = ""
    item_colour: str = ""


@dataclass(frozen=True)
class Thing:
    """Something else, one or several of a kind: vehicles, boats, animals, furniture, flyers.

    `colour`, `accent` (the colour of a second part: a sail, a funnel) and `facing` ("left" or
    "right") are "" where the kind has none.
    """

    kind: str
    side: str
    colour: str = ""
    accent: str = ""
    count: int = 1
    facing: str = ""


@dataclass(frozen=True)
class Scene:
    """One picture, in four rows from the sky down to the front.

    `seed` drives wording and decoration, which carry no content; the members of a group share it.
    In a `grouped` scene `landmark`, `backdrop`, `middle` and `front` are what tells the members of
    a group apart, and the description names them last. In an `alike` scene they are the colours of
    landmark and house, which the summary names.
    """

    split: str
    index: int
    seed: str
    grouped: bool
    setting: str
    time_of_day: str
    weather: str
    backdrop: str
    moon: str
    landmark: Landmark
    trees: Trees
    flyer: Thing | None
    house: House
    middle: tuple[Thing, ...]
    front: tuple[Person | Thing, ...]
    alike: bool = False
