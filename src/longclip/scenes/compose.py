"""Sampler of scenes: pure functions of a split and an index."""

import hashlib
from dataclasses import replace
from functools import lru_cache
from itertools import product
from random import Random

from longclip.errors import UsageError
from longclip.scenes import vocabulary as v
from longclip.scenes.graph import SIDES, House, Landmark, Person, Scene, Thing, Trees

GROUP_SIZE = 5
_SIZES = {
    "train": 40_000,
    "train-groups": 40_000,
    "val": 500,
    "val-short": 500,
    "test": 500,
    "test-short": 500,
}
_GROUPED = ("train-groups", "val", "test")
_MIN_DIFFERENCES = 4
"""Fewest details that tell two members of a group apart: one alone may be hard to see."""


def split_size(split: str) -> int:
    """Return the number of scenes in a split by default; any index of any split can be made.

    Raises:
        UsageError: for an unknown split.
    """
    if split not in _SIZES:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(_SIZES)}")
    return _SIZES[split]


def stream(*parts: object) -> Random:
    """Return a random stream named by `parts`, the same in every process and on every machine."""
    name = "/".join(map(str, parts)).encode()
    return Random(int.from_bytes(hashlib.sha256(name).digest()[:8], "big"))


def make_scene(split: str, index: int) -> Scene:
    """Return scene number `index` of `split`.

    `train-groups`, `val` and `test` come in groups of `GROUP_SIZE` consecutive indices that agree
    in everything but landmark, backdrop, middle and front row. Those of `val-short` and
    `test-short` agree in setting, time, weather and the kind of landmark, and their summaries in
    all words but the colours of landmark, house and roof; no summary comes twice in the first
    8,000.

    Raises:
        UsageError: for an unknown split or a negative index.
    """
    split_size(split)
    if index < 0:
        raise UsageError(f"scene index {index}: indices start at 0")
    if split in _GROUPED:
        return _group(split, index // GROUP_SIZE)[index % GROUP_SIZE]
    if split.endswith("-short"):
        return _alike(split, index)
    seed = f"{split}-{index}"
    return _scene(split, index, seed, stream(seed, "setting").choice(v.SETTINGS))


def _alike(split: str, index: int) -> Scene:
    """Return a scene whose summary tells it from others of its group by colours alone.

    Landmark and house exchange their colours in two pairs of the five: whoever knows which words
    a summary has, and not which belong together, cannot tell those apart.
    """
    group, member = divmod(index, GROUP_SIZE)
    combinations = _combinations(split)
    setting, kind, time, weather = combinations[group % len(combinations)]
    seed = f"{split}-group-{group}"
    rng = stream(seed, "colours")
    one, other, third = rng.sample(v.WALLS, 3)
    roof, other_roof = rng.sample([c for c in v.ROOFS if c not in (one, other, third)], 2)
    wall, house_wall, house_roof = (
        (one, other, roof),
        (other, one, roof),
        (one, other, other_roof),
        (other, one, other_roof),
        (one, third, roof),
    )[member]
    # All else comes from a stream of its own: members share the wording, not the rest.
    scene = _scene(split, index, f"{split}-{index}", setting)
    landmark = scene.landmark
    if landmark.roof == wall:
        landmark = replace(landmark, roof=rng.choice([c for c in v.ROOFS if c != wall]))
    house = scene.house
    if house.door == house_wall:
        house = replace(house, door=rng.choice([c for c in v.DOORS if c != house_wall]))
    return replace(
        scene,
        seed=seed,
        alike=True,
        time_of_day=time,
        weather=weather,
        landmark=replace(landmark, kind=kind, wall=wall),
        house=replace(house, wall=house_wall, roof=house_roof),
    )


@lru_cache(maxsize=2)
def _combinations(split: str) -> list[tuple[str, str, str, str]]:
    combinations = list(product(v.SETTINGS, v.LANDMARKS, v.TIMES, v.WEATHERS))
    stream(split, "combinations").shuffle(combinations)
    return combinations


def _scene(split: str, index: int, seed: str, setting: str) -> Scene:
    rng = stream(seed, "content")
    landmark_side, house_side, trees_side = rng.sample(SIDES, 3)
    wall, roof = _two_colours(rng, v.WALLS, v.ROOFS)
    middle = _middle(rng, setting, rng.choice((1, 1, 1, 2)))
    return Scene(
        split=split,
        index=index,
        seed=seed,
        grouped=False,
        setting=setting,
        time_of_day=rng.choice(v.TIMES),
        weather=rng.choice(v.WEATHERS),
        backdrop=rng.choice(v.BACKDROPS[setting]),
        moon=rng.choice(("full", "crescent")),
        landmark=Landmark(rng.choice(tuple(v.LANDMARKS)), landmark_side, wall, roof),
        trees=Trees(rng.choice(v.TREES), trees_side, rng.randint(1, 3)),
        flyer=_thing(rng, rng.choice(v.FLYERS), house_side) if rng.random() < 0.4 else None,
        house=_house(rng, house_side),
        middle=middle,
        front=_front(rng, setting, rng.choice((2, 2, 3)) if len(middle) == 1 else 2),
    )


def _two_colours(rng: Random, first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, str]:
    one = rng.choice(first)
    return one, rng.choice([colour for colour in second if colour != one])


def _house(rng: Random, side: str) -> House:
    wall, roof = _two_colours(rng, v.WALLS, v.ROOFS)
    door = rng.choice([colour for colour in v.DOORS if colour != wall])
    return House(side, wall, roof, door)


def _thing(rng: Random, kind: str, side: str) -> Thing:
    colours, accents, counts, faces = v.LOOKS[kind]
    colour = rng.choice(colours) if colours else ""
    accent = rng.choice([c for c in accents if c != colour]) if accents else ""
    facing = rng.choice(("left", "right")) if faces else ""
    return Thing(kind, side, colour, accent, rng.choice(counts), facing)


def _person(rng: Random, kind: str, side: str) -> Person:
    coat = rng.choice(v.CLOTHES)
    hat = rng.choice([c for c in v.CLOTHES if c != coat]) if rng.random() < 0.4 else ""
    item = rng.choice(v.ITEMS) if rng.random() < 0.6 else ""
    item_colour = rng.choice([c for c in v.BRIGHT if c != coat]) if item else ""
    return Person(kind, side, coat, hat, item, item_colour)


def _middle(rng: Random, setting: str, count: int) -> tuple[Thing, ...]:
    sides = ("left", "right") if count == 2 else (rng.choice(SIDES),)
    kinds = rng.sample(v.MIDDLE[setting], count)
    return tuple(_thing(rng, kind, side) for kind, side in zip(kinds, sides, strict=True))


def _front(rng: Random, setting: str, count: int) -> tuple[Person | Thing, ...]:
    people = rng.choice((1, 1, 2)) if count > 1 else 1
    kinds = [*rng.sample(v.PEOPLE, people), *rng.sample(v.FRONT[setting], count - people)]
    sides = sorted(rng.sample(SIDES, count), key=SIDES.index)
    rng.shuffle(kinds)
    return tuple(
        _person(rng, kind, side) if kind in v.PEOPLE else _thing(rng, kind, side)
        for kind, side in zip(kinds, sides, strict=True)
    )


@lru_cache(maxsize=8)
def _group(split: str, group: int) -> tuple[Scene, ...]:
    """Return the scenes of one group, every two of them with several differing details."""
    seed = f"{split}-group-{group}"
    rng = stream(seed, "members")
    setting = rng.choice(v.SETTINGS)
    base = replace(_scene(split, group * GROUP_SIZE, seed, setting), grouped=True)
    if base.flyer is None:
        # One shared sentence more, to keep the differences beyond token 77 of the description.
        base = replace(base, flyer=_thing(rng, rng.choice(v.FLYERS), base.house.side))
    members = [base]
    while len(members) < GROUP_SIZE:
        backdrop = rng.choice(v.BACKDROPS[setting])
        wall, roof = _two_colours(rng, v.WALLS, v.ROOFS)
        kind = rng.choice(tuple(v.LANDMARKS))
        candidate = replace(
            base,
            index=base.index + len(members),
            backdrop=backdrop,
            landmark=Landmark(kind, base.landmark.side, wall, roof),
            middle=_other_middle(rng, base),
            front=_other_front(rng, base),
        )
        if all(_differences(candidate, member) >= _MIN_DIFFERENCES for member in members):
            members.append(candidate)
    return tuple(members)


def _other_middle(rng: Random, base: Scene) -> tuple[Thing, ...]:
    """Return as many things as before: the same kinds in other colours, or others elsewhere."""
    if rng.random() < 0.5:
        return _middle(rng, base.setting, len(base.middle))
    return tuple(_thing(rng, thing.kind, thing.side) for thing in base.middle)


def _other_front(rng: Random, base: Scene) -> tuple[Person | Thing, ...]:
    """Return the same kinds in other colours and places, or a new front row altogether."""
    if rng.random() < 0.5:
        return _front(rng, base.setting, len(base.front))
    kinds = [something.kind for something in base.front]
    if rng.random() < 0.5:
        rng.shuffle(kinds)
    return tuple(
        _person(rng, kind, old.side) if kind in v.PEOPLE else _thing(rng, kind, old.side)
        for kind, old in zip(kinds, base.front, strict=True)
    )


def _differences(one: Scene, other: Scene) -> int:
    """Count the visible, described details of landmark, backdrop, middle and front row that differ.

    Another kind of landmark, or in a place something of another kind (or nothing), counts two;
    anything else the number of differing attributes. The direction that something faces is too
    small to count.
    """
    total = _unlike(one.landmark, other.landmark) + (one.backdrop != other.backdrop)
    for mine, yours in ((one.middle, other.middle), (one.front, other.front)):
        here = {something.side: something for something in mine}
        there = {something.side: something for something in yours}
        total += sum(_unlike(here.get(side), there.get(side)) for side in SIDES)
    return total


def _unlike(one: Landmark | Person | Thing | None, other: Landmark | Person | Thing | None) -> int:
    if one is None or other is None:
        return 0 if one is other else 2
    if one.kind != other.kind:
        return 2
    mine: dict[str, object] = vars(one)
    yours: dict[str, object] = vars(other)
    return sum(1 for name in mine if name != "facing" and mine[name] != yours[name])
