"""Every sentence of the longest descriptions, checked against the graph of its scene."""

import re
from itertools import takewhile

import pytest
from hypothesis import given, settings

from longclip.scenes import describe, longest_description, make_scene
from longclip.scenes.graph import Person, Scene, Thing
from longclip.scenes.texts.phrases import ACCENTS, TREE_NOUNS
from longclip.scenes.vocabulary import FLYERS, FRONT, LANDMARKS, MIDDLE, PEOPLE
from longclip.text import tokenize
from tests.scenes.test_texts import SCENES

X = {"left": 0, "middle": 1, "right": 2}
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
BACKDROPS = {
    "hill": "hills",
    "mountain": "mountains",
    "forest": "forest",
    "city skyline": "skyline",
    "cliff": "cliffs",
}


def sentences(text: str) -> list[str]:
    return [part.rstrip(".") for part in re.split(r"(?<=\.) ", text)]


def named(scene: Scene) -> dict[str, tuple[object, int, str, str]]:
    """What "the church" and "the ducks" are: the thing, its row from the back, side and verb."""
    trees, tree_verb = scene.trees, "is" if scene.trees.count == 1 else "are"
    found = {
        "the house": (scene.house, 0, scene.house.side, "is"),
        "the tree" if trees.count == 1 else "the trees": (trees, 0, trees.side, tree_verb),
        f"the {scene.landmark.kind}": (scene.landmark, 0, scene.landmark.side, "is"),
    }
    rows = {1: scene.middle, 2: scene.front, 3: (scene.flyer,) if scene.flyer else ()}
    for row, things in rows.items():
        for thing in things:
            many = isinstance(thing, Thing) and thing.count > 1
            s = "s" if many and thing.kind != "sheep" else ""
            found[f"the {thing.kind}{s}"] = (thing, row, thing.side, "are" if many else "is")
    return found


def absent(words: str) -> list[str]:
    """Of "no hill, no forest and no cliff" the kinds."""
    return [part.removeprefix("no ") for part in re.split(r", | and ", words)]


def is_true(sentence: str, scene: Scene) -> bool:
    """Whether it is one of the forms that are known, and what it says is so."""
    what, known = sentence[0].lower() + sentence[1:], named(scene)
    there = {thing.kind for thing, *_ in known.values() if hasattr(thing, "kind")}
    a = "an?"

    def says(pattern: str) -> tuple[str, ...] | None:
        found = re.fullmatch(pattern, what)
        return found.groups() if found else None

    if got := says(r"(the .+?) (is|are) (?:to the|further) (left|right) (?:of|than) (the .+)"):
        (_, _, one, be), (_, _, other, _) = known[got[0]], known[got[3]]
        return be == got[1] and (X[one] < X[other] if got[2] == "left" else X[one] > X[other])
    if got := says(r"(the .+?) (is|are) (in front of|behind) (the .+)"):
        (_, row, one, be), (_, far, other, _) = known[got[0]], known[got[3]]
        return be == got[1] and one == other and (row > far if got[2] != "behind" else row < far)
    if got := says(r"(the .+) (is|are) above the house and to the (left|right) of (the trees?)"):
        (flyer, _, side, be), (_, _, trees, _) = known[got[0]], known[got[3]]
        way = "left" if X[side] < X[trees] else "right"
        above = flyer == scene.flyer and side == scene.house.side
        return (be, way) == got[1:3] and above and side != trees
    if got := says(r"the walls of the house are (\w+)"):
        return got == (scene.house.wall,)
    if got := says(rf"{a} (\w+) door leads into the house under {a} (\w+) roof"):
        return got == (scene.house.door, scene.house.roof)
    if got := says(rf"the tree is {a} (.+) and stands alone"):
        return scene.trees.count == 1 and got[0] in TREE_NOUNS[scene.trees.kind]
    if got := says(r"the trees are (.+), (\w+) of them"):
        noun = re.sub(r"s( with .+)?$", r"\1", got[0])
        return NUMBERS[got[1]] == scene.trees.count > 1 and noun in TREE_NOUNS[scene.trees.kind]
    # Snow may lie on mountains, so it is said that none falls.
    if got := says(r"no (rain|snow|rain or snow) falls( and there is no fog)?"):
        weathers = {"rain": "rainy", "snow": "snowy"}
        kinds = {weathers[kind] for kind in got[0].split(" or ")} | ({"foggy"} if got[1] else set())
        return kinds == {"rainy", "snowy", "foggy"} - {scene.weather}
    if got := says(r"it is (\w+), and neither (\w+) nor (\w+) nor (\w+)"):
        times = {"morning", "noon", "sunset", "night"}
        return got[0] == scene.time_of_day and set(got[1:]) == times - {got[0]}
    if got := says(r"behind all this there is (no .+)"):
        return {BACKDROPS[kind] for kind in absent(got[0])} == set(BACKDROPS.values()) - {
            scene.backdrop
        }
    if got := says(r"the hands of the (\w+) are empty"):
        person = known[f"the {got[0]}"][0]
        return isinstance(person, Person) and not person.item
    if got := says(r"the (\w+) wears (\w+)"):
        person = known[f"the {got[0]}"][0]
        return isinstance(person, Person) and person.coat == got[1]
    if got := says(rf"the (\w+) has (no|{a} \w+) hat on"):
        person = known[f"the {got[0]}"][0]
        worn = "" if got[1] == "no" else got[1].split()[1]
        return isinstance(person, Person) and person.hat == worn
    if got := says(r"the colour of (the .+) is (\w+)"):
        return getattr(known[got[0]][0], "colour", None) == got[1]
    if got := says(r"the (\w+) of (the .+) (is|are) (\w+)"):
        part, colour, thing = got[0], got[3], known[got[1]][0]
        if thing == scene.landmark:
            wall, roof = LANDMARKS[scene.landmark.kind]
            parts = {wall: scene.landmark.wall, roof: scene.landmark.roof}
        elif isinstance(thing, Person):
            parts = {thing.item: thing.item_colour}
        else:
            assert isinstance(thing, Thing)
            whole = ACCENTS[thing.kind]
            parts = {whole + "s" * (whole in ("sail", "stripe")): thing.accent}
        return parts[part] == colour and (got[2] == "are") == part.endswith("s")
    if got := says(r"(the .+) (is|are) turned to the (left|right)"):
        thing, _, _, be = known[got[0]]
        return isinstance(thing, Thing) and (be, thing.facing) == got[1:]
    if got := says(r"of (the .+) there are (\w+)"):
        thing = known[got[0]][0]
        return isinstance(thing, Thing) and thing.count == NUMBERS[got[1]] > 1
    if got := says(r"there is only one (.+)"):
        thing = known[f"the {got[0]}"][0]
        return isinstance(thing, Thing) and thing.count == 1
    if got := says(r"there (is one person|are two people) in the picture"):
        return sum(isinstance(one, Person) for one in scene.front) == 1 + ("two" in got[0])
    if got := says(r"the picture shows (no .+)"):
        return set(absent(got[0])) == set(PEOPLE) - there
    if got := says(r"on the ground there is (no .+)"):
        usual = {*MIDDLE[scene.setting], *FRONT[scene.setting]}
        return set(absent(got[0])) <= usual - there
    if got := says(r"among the buildings there is (no .+)"):
        return set(absent(got[0])) <= set(LANDMARKS) - there
    if got := says(r"in the sky there is (no .+)"):
        return set(absent(got[0])) == set(FLYERS) - there
    return False


@settings(max_examples=200, deadline=None)
@given(SCENES)
def test_every_sentence_is_true_and_none_is_said_twice(scene: Scene) -> None:
    text = longest_description(scene)
    found = sentences(text)
    assert len({sentence.lower() for sentence in found}) == len(found)
    # What `describe` says is checked with the other texts.
    short = set(sentences(describe(scene)))
    assert short <= set(found)
    more = [sentence for sentence in found if sentence not in short]
    assert [sentence for sentence in more if not is_true(sentence, scene)] == []


@settings(max_examples=100, deadline=None)
@given(SCENES)
def test_each_two_things_are_related_once(scene: Scene) -> None:
    relation = r"the .+ (is|are) (to the|further|in front of|behind) .*"
    found = [s for s in sentences(longest_description(scene)) if re.fullmatch(relation, s, re.I)]
    count = 3 + len(scene.middle) + len(scene.front)
    ours = [s for s in found if s not in sentences(describe(scene))]
    assert len(ours) == count * (count - 1) // 2


@settings(max_examples=100, deadline=None)
@given(SCENES)
def test_it_is_well_formed(scene: Scene) -> None:
    text = longest_description(scene)
    assert all(s[0].isupper() for s in sentences(text))
    assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text)
    assert not re.search(r"  |\.\.|,,| [,.]|,\.|\s$|^\s", text)
    assert not re.search(r"\b(\w+) \1\b", text)


@pytest.mark.parametrize("split", ["val", "test", "train-groups"])
def test_it_fills_a_context_of_512_and_tells_a_group_apart_last(split: str) -> None:
    lengths = []
    for group in range(40):
        members = [make_scene(split, 5 * group + i) for i in range(5)]
        texts = [longest_description(member) for member in members]
        assert len(set(texts)) == 5
        ids = tokenize(texts, context_length=1000)
        lengths += (ids.argmax(dim=1) + 1).tolist()
        places = zip(*map(sentences, texts), strict=False)
        shared = list(takewhile(lambda same: len(set(same)) == 1, places))
        # The summary, what `describe` says of what they share, and as much again in other words.
        assert len(shared) >= 12
        differs = (ids != ids[:1]).any(dim=0).float().argmax()
        assert 140 <= differs <= 240
        late = " ".join(text for same in shared for text in same).lower()
        assert not any(member.landmark.kind in late for member in members)
    assert min(lengths) > 512
    assert 600 <= sum(lengths) / len(lengths) <= 680
