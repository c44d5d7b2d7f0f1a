"""Noun phrases for everything in a scene, shared by summaries, captions and descriptions."""

from random import Random

from longclip.scenes.graph import SIDES, House, Landmark, Person, Scene, Thing, Trees
from longclip.scenes.vocabulary import LANDMARKS

Placed = House | Landmark | Person | Thing | Trees

MAX_SHORT_WORDS = 20
"""Words that a summary and a short caption have at most."""

_NUMBERS = {2: "two", 3: "three", 4: "four"}

# Irregular plurals only; every other noun takes an s.
_PLURALS = {"sheep": "sheep", "cherry": "cherry trees"}
TREE_NOUNS = {
    "pine": ("pine tree", "fir tree"),
    "oak": ("oak tree", "round green tree"),
    "poplar": ("poplar", "slender poplar"),
    "palm": ("palm tree", "palm"),
    "cherry": ("pink cherry tree", "blossoming cherry tree"),
    "maple": ("orange maple tree", "maple tree with orange leaves"),
}
ACCENTS = {
    "truck": "load",
    "sailing boat": "sail",
    "steamboat": "funnel",
    "market stall": "awning",
    "parasol": "stripe",
    "hot-air balloon": "stripe",
}
"""The part of each kind that `accent` colours; the awning is a market stall's only colour."""

PLURAL_ACCENTS = ("stripe", "sail")

BACKDROPS = {
    "hills": ("green hills", "low green hills", "rolling hills"),
    "mountains": ("snowy mountains", "high mountains with snowy peaks", "snow-capped mountains"),
    "forest": ("a dark forest", "a dense forest", "a line of dark woods"),
    "skyline": ("a city skyline", "tall distant buildings", "the skyline of a city"),
    "cliffs": ("red cliffs", "steep red rocks", "reddish cliffs"),
}

_SIDE_PHRASES = {
    "left": ("on the left", "on the left", "at the left"),
    "middle": ("in the middle", "in the middle", "in the centre"),
    "right": ("on the right", "on the right", "at the right"),
}

SURFACES = {
    "city street": ("on the road", "on the street"),
    "town square": ("on the square", "on the paving"),
    "park": ("on the pond", "on the water"),
    "beach": ("on the sea", "on the water"),
    "harbour": ("in the harbour", "on the water"),
    "lake": ("on the lake", "on the water"),
    "farm": ("in the field", "on the field"),
    "mountain village": ("on the road", "on the village road"),
}


def article(words: str) -> str:
    """Return `words` with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(noun: str) -> str:
    """Return the plural of a noun of this vocabulary."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if " with " in noun:
        head, rest = noun.split(" with ", 1)
        return f"{plural(head)} with {rest}"
    return noun + "s"


def counted(count: int, noun: str) -> str:
    """Return a noun with its number: "a duck", "two ducks"."""
    return article(noun) if count == 1 else f"{_NUMBERS[count]} {plural(noun)}"


def number(count: int) -> str:
    """Return a number in words: "one", "two" …"""
    return {1: "one", **_NUMBERS}[count]


def capitalized(text: str) -> str:
    """Return `text` with a capital first letter, the rest untouched."""
    return text[0].upper() + text[1:]


def side(rng: Random, where: str) -> str:
    """Choose words for left, middle or right."""
    return rng.choice(_SIDE_PHRASES[where])


def direction(one: Placed, other: Placed) -> str:
    """Return the side of `other` on which `one` is, "left" or "right"; theirs are not the same."""
    return "left" if SIDES.index(one.side) < SIDES.index(other.side) else "right"


def depth(scene: Scene, placed: Placed) -> int:
    """Return the row that something stands in, counted from the back."""
    if placed in scene.front:
        return 2
    return 1 if placed in scene.middle else 0


def landmark_phrase(landmark: Landmark, *, wall: bool, roof: bool) -> str:
    """Name the landmark: "a church", "a white church", "a church with a blue roof" …"""
    part = LANDMARKS[landmark.kind][1]
    noun = f"{landmark.wall} {landmark.kind}" if wall else landmark.kind
    tail = ""
    if roof:
        coloured = f"{landmark.roof} {part}"
        tail = f" with {coloured if part.endswith('s') else article(coloured)}"
    return article(noun) + tail


def house_phrase(house: House, *, wall: bool, roof: bool, door: bool) -> str:
    """Name the house: "a house", "a pink house with a green roof and a yellow door" …"""
    parts = [article(f"{house.roof} roof")] * roof + [article(f"{house.door} door")] * door
    noun = article(f"{house.wall} house" if wall else "house")
    return noun + (f" with {' and '.join(parts)}" if parts else "")


def trees_phrase(trees: Trees, rng: Random) -> str:
    """Name the trees: "an oak tree", "three palms" …"""
    return counted(trees.count, rng.choice(TREE_NOUNS[trees.kind]))


def person_phrase(person: Person, rng: Random, *, hat: bool, item: bool) -> str:
    """Name a person: "a woman in a red coat and a white hat with a pink balloon"."""
    garment = rng.choice(
        ("coat", "coat", "dress" if person.kind in ("woman", "girl") else "jacket")
    )
    words = f"{article(person.kind)} in {article(f'{person.coat} {garment}')}"
    if hat and person.hat:
        words += f" and {article(f'{person.hat} hat')}"
    if item and person.item:
        words += f" with {article(f'{person.item_colour} {person.item}')}"
    return words


def thing_phrase(thing: Thing, *, accent: bool = True) -> str:
    """Name a thing: "a red car", "two ducks", "a blue sailing boat with yellow sails" …"""
    noun = f"{thing.colour} {thing.kind}" if thing.colour else thing.kind
    words = counted(thing.count, noun)
    if accent and thing.accent:
        part = ACCENTS[thing.kind]
        coloured = f"{thing.accent} {part}"
        words += f" with {plural(coloured) if part in PLURAL_ACCENTS else article(coloured)}"
    return words


def reference(placed: Placed) -> str:
    """Refer to something that another sentence describes: "the church"."""
    if isinstance(placed, House):
        return "the house"
    if isinstance(placed, Trees):
        return "the tree" if placed.count == 1 else "the trees"
    if isinstance(placed, Thing):
        return f"the {placed.kind if placed.count == 1 else plural(placed.kind)}"
    return f"the {placed.kind}"
