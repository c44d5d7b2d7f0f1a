"""The drawn scenes as a collection."""

import pytest

from longclip import scenes
from longclip.data import Captions, Collection, ScenesCollection
from longclip.data.names import SCENE_SPLITS

FEW = 24


@pytest.mark.parametrize("split", SCENE_SPLITS)
def test_pictures_and_descriptions(split: str) -> None:
    collection: Collection = ScenesCollection(split, image_size=40)
    drawn_as = split.removesuffix("-longest")
    describe = scenes.describe if drawn_as == split else scenes.longest_description
    assert len(collection) == scenes.split_size(drawn_as)
    for index in (0, 1, len(collection) - 1):
        picture = collection.image(index)
        assert (picture.mode, picture.size) == ("RGB", (40, 40))
        assert picture.tobytes() == collection.image(index).tobytes()
        captions = collection.captions(index)
        assert captions == collection.captions(index)
        assert captions.long == (describe(scenes.make_scene(drawn_as, index)),)
        assert all(text.strip() for text in captions.short + captions.long)


@pytest.mark.parametrize("split", ["train", "train-groups"])
def test_splits_to_learn_from_have_several_short_captions(split: str) -> None:
    for index in range(FEW):
        scene = scenes.make_scene(split, index)
        short = ScenesCollection(split).captions(index).short
        assert short == scenes.short_captions(scene)
        assert short[0] == scenes.summarize(scene)
        assert len(short) > 1


@pytest.mark.parametrize("split", ["val", "test"])
def test_groups_share_their_summary_and_so_have_no_short_captions(split: str) -> None:
    collection = ScenesCollection(split, FEW)
    assert all(collection.captions(index).short == () for index in range(FEW))
    assert collection.label_sets() == ()
    found = [scenes.summarize(scenes.make_scene(split, index)) for index in range(FEW)]
    assert len(set(found)) < FEW


def test_the_short_test_has_the_summary_only_and_none_twice() -> None:
    collection = ScenesCollection("test-short")
    found = [collection.captions(index).short for index in range(len(collection))]
    assert all(len(short) == 1 for short in found)
    assert len(set(found)) == len(collection)
    scene = scenes.make_scene("test-short", 7)
    assert found[7] == (scenes.summarize(scene),)
    assert collection.captions(7) == Captions(found[7], (scenes.describe(scene),))


@pytest.mark.parametrize("split", ["train", "test-short"])
def test_label_sets(split: str) -> None:
    collection = ScenesCollection(split, FEW)
    found = {labels.name: labels for labels in collection.label_sets()}
    assert list(found) == list(scenes.CLASSES)
    for task, labels in found.items():
        assert labels.classes == scenes.CLASSES[task]
        assert labels.templates == scenes.PROMPTS[task]
        assert all(template.count("{}") == 1 for template in labels.templates)
        for index in range(FEW):
            truth = scenes.labels(scenes.make_scene(split, index))[task]
            assert labels.classes[labels.targets[index]] == truth
        assert len(labels.targets) == FEW


@pytest.mark.parametrize("split", ["train-groups", "val", "test"])
def test_the_longest_texts_are_of_the_same_pictures(split: str) -> None:
    plain, longest = ScenesCollection(split, FEW), ScenesCollection(f"{split}-longest", FEW)
    assert list(plain.picture_hashes()) == list(longest.picture_hashes())
    assert plain.fingerprint() != longest.fingerprint()
    for index in range(FEW):
        assert plain.key(index) == longest.key(index)
        assert plain.captions(index).short == longest.captions(index).short
        [text], [false] = longest.captions(index).long, longest.contradictions(index)
        assert len(text) > 3 * len(plain.captions(index).long[0])
        assert text != false
