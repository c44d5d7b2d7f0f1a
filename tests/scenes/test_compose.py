import re
from itertools import combinations

import pytest

from longclip.scenes import CLASSES, labels, make_scene, split_size, summarize
from longclip.scenes.graph import SIDES, Scene
from longclip.scenes.vocabulary import COLOURS, LOOKS, PEOPLE, TREES


def details(scene: Scene) -> dict[str, str]:
    """Place -> content, attribute by attribute, of what the members of a group differ in."""
    found = {f"landmark {k}": v for k, v in vars(scene.landmark).items()}
    found["backdrop"] = scene.backdrop
    for row in ("middle", "front"):
        for something in getattr(scene, row):
            for name, value in vars(something).items():
                if name not in ("facing", "side"):
                    found[f"{row} {something.side} {name}"] = str(value)
    return found


SPLITS = ("train", "train-groups", "val", "val-short", "test", "test-short")
GROUPED = ("train-groups", "val", "test")


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_are_pure_functions_of_split_and_index(split):
    for index in (0, 3, 499):
        assert make_scene(split, index) == make_scene(split, index)
        assert make_scene(split, index) != make_scene(split, index + 1)
        assert (make_scene(split, index).split, make_scene(split, index).index) == (split, index)


def test_splits_share_no_scene():
    seen = {make_scene(split, 0).seed for split in SPLITS}
    assert len(seen) == len(SPLITS)
    one, other = (make_scene(split, 0) for split in ("val-short", "test-short"))
    assert labels(one) != labels(other)


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        make_scene("dev", 0)
    with pytest.raises(ValueError, match="start at 0"):
        make_scene("train", -1)
    with pytest.raises(ValueError, match="unknown split"):
        split_size("dev")


def test_nothing_stands_in_the_place_of_something_else():
    for index in range(300):
        scene = make_scene("train", index)
        back = {scene.landmark.side, scene.house.side, scene.trees.side}
        assert back == set(SIDES)
        for row in (scene.middle, scene.front):
            assert len({something.side for something in row}) == len(row) > 0
        kinds = [something.kind for something in (*scene.middle, *scene.front)]
        # "the dog" must mean one dog.
        assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("split", GROUPED)
def test_members_of_a_group_differ_in_what_is_described_late(split):
    for group in range(100):
        members = [make_scene(split, 5 * group + i) for i in range(5)]
        assert all(member.grouped for member in members)
        shared = ("setting", "time_of_day", "weather", "moon", "house", "trees")
        for name in (*shared, "flyer", "seed"):
            assert len({getattr(member, name) for member in members}) == 1
        for one, other in combinations(map(details, members), 2):
            differing = [k for k in one.keys() | other.keys() if one.get(k) != other.get(k)]
            assert len(differing) >= 3


@pytest.mark.parametrize("split", ["val-short", "test-short"])
def test_summaries_of_the_short_tests_need_to_be_read_in_order(split):
    texts = []
    for group in range(100):
        members = [make_scene(split, 5 * group + i) for i in range(5)]
        shared = ("setting", "time_of_day", "weather", "seed")
        for name in shared:
            assert len({getattr(member, name) for member in members}) == 1
        assert len({member.landmark.kind for member in members}) == 1
        summaries = [summarize(member) for member in members]
        texts += summaries
        # Without their order the words of two pairs are the same: such a model gets 3 in 5.
        bags = [tuple(sorted(re.findall(r"\w+", text.lower()))) for text in summaries]
        bags = [tuple(word for word in bag if word not in ("a", "an")) for bag in bags]
        assert bags[0] == bags[1]
        assert bags[2] == bags[3]
        assert len(set(bags)) == 3
        # And without the colours of landmark, house and roof all are the same.
        a_colour = rf"\ban? ({'|'.join(COLOURS)})\b"
        assert len({re.sub(a_colour, "C", text.lower()) for text in summaries}) == 1
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_occurs(split):
    found = [labels(make_scene(split, index)) for index in range(500)]
    for task, classes in CLASSES.items():
        assert {label[task] for label in found} == set(classes)


def test_every_kind_occurs_in_training():
    kinds = set()
    for index in range(1500):
        scene = make_scene("train", index)
        flyer = (scene.flyer,) if scene.flyer else ()
        kinds |= {x.kind for x in (scene.trees, *scene.middle, *scene.front, *flyer)}
    assert kinds == {*LOOKS, *TREES, *PEOPLE}
