"""Perturbed texts: what is changed, and the comparison against cosines computed one by one."""

import json
import random
from collections import Counter

import pytest
import torch

from longclip.data.scenes import ScenesCollection
from longclip.evaluation import EvaluateConfig, evaluate
from longclip.evaluation.probes.perturbations import (
    negate,
    perturbations,
    shuffle_sentences,
    shuffle_words,
)
from tests.helpers.encoders import BagOfTokens, PaintedTexts, cosine, painted

TEXTS = (
    "A red bus is here. The dog sleeps. Two lamps are on.",
    "The house has a door. It rains.",
    "only a house",
    "dog dog dog",
    "A lake. The boats were old. They have sails.",
)


class Ordered(BagOfTokens):
    """Weighs a token by its place, so that order matters; remembers nothing."""

    def encode_text(self, texts, /, **options):
        rows = super().encode_text(texts, **options)
        for row, text in zip(rows, texts, strict=True):
            row += sum(i * ord(c) for i, c in enumerate(text)) / 1e4
        return rows


def test_words_and_sentences_are_all_kept_in_another_order():
    dice = random.Random(0)
    for text in TEXTS:
        for _ in range(10):
            words = shuffle_words(text, dice)
            if text == "dog dog dog":
                assert words is None
            else:
                assert words != text
                assert Counter(words.split()) == Counter(text.split())
            sentences = shuffle_sentences(text, dice)
            if text.count(".") > 1:
                assert sentences != text
                assert Counter(sentences.split()) == Counter(text.split())
            else:
                assert sentences is None
    assert shuffle_words("house", dice) is None


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("The dog is asleep.", "The dog is not asleep."),
        ("Two lamps are on, and one is off.", "Two lamps are not on, and one is off."),
        ("They were old.", "They were not old."),
        ("The house has red walls.", "The house does not have red walls."),
        ("The boats have sails.", "The boats do not have sails."),
        ("The sun has just come up.", None),
        ("It has been painted.", None),
        ("The lamps have opened.", None),
        ("The lamp is not on.", None),
        ("A dog on the island.", None),
        ("It rains. There is a tree.", "It rains. There is not a tree."),
    ],
)
def test_a_verb_is_negated(text, negated):
    assert negate(text, random.Random(0)) == negated


def test_one_of_the_sentences_is_drawn():
    found = {negate(TEXTS[0], random.Random(seed)) for seed in range(20)}
    assert found == {
        "A red bus is not here. The dog sleeps. Two lamps are on.",
        "A red bus is here. The dog sleeps. Two lamps are not on.",
    }


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_drop_are_those_of_the_cosines(seed):
    encoder = Ordered()
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(5, 16, generator=generator)
    owners = torch.tensor([4, 1, 0, 2, 3])
    false = {0: TEXTS[0].replace("red", "blue"), 4: TEXTS[4].replace("old", "new")}
    found = perturbations(encoder, images, TEXTS, owners, contradictions=false, seed=seed)

    def drop(index, text):
        image = images[owners[index]].tolist()
        true, wrong = Ordered().encode_text([TEXTS[index], text]).double().tolist()
        return cosine(image, true) - cosine(image, wrong)

    drops = [drop(index, text) for index, text in false.items()]
    assert found.contradicted.texts == 2
    assert found.contradicted.drop == pytest.approx(sum(drops) / 2, abs=1e-6)
    assert found.contradicted.accuracy == sum(d > 0 for d in drops) / 2

    seen = set(encoder.texts_seen) - set(TEXTS) - set(false.values())

    def affirmed(text):
        text = text.replace(" does not have ", " has ").replace(" do not have ", " have ")
        return text.replace(" not ", " ").replace(" not.", ".")

    of_negated = {TEXTS.index(affirmed(t)): t for t in seen if affirmed(t) in TEXTS}
    assert set(of_negated) == {0, 1, 4}
    drops = [drop(index, text) for index, text in of_negated.items()]
    assert found.negated.texts == 3
    assert found.negated.drop == pytest.approx(sum(drops) / 3, abs=1e-6)
    assert found.negated.accuracy == pytest.approx(sum(d > 0 for d in drops) / 3)
    assert (found.shuffled_words.texts, found.shuffled_sentences.texts) == (4, 3)
    assert json.loads(json.dumps(found.to_json()))["negated"]["texts"] == 3


def test_a_sum_of_tokens_knows_no_order():
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    found = perturbations(encoder, images, TEXTS, torch.arange(5))
    assert found.shuffled_sentences.drop == pytest.approx(0, abs=1e-6)
    # A word that is not in the picture takes the text away from it.
    assert found.negated.accuracy == 1.0
    assert found.negated.drop > 0.01
    assert found.contradicted.texts == 0
    assert found.contradicted.accuracy is found.contradicted.drop is None


def test_what_lies_behind_the_context_ties_and_counts_as_wrong():
    text = "one two three four five. It is red."
    encoder = BagOfTokens(context_length=6)
    found = perturbations(
        encoder,
        torch.ones(1, 16),
        (text,),
        torch.tensor([0]),
        contradictions={0: text.replace("red", "blue")},
    )
    assert (found.negated.ties, found.negated.accuracy, found.negated.drop) == (1, 0.0, 0.0)
    assert found.contradicted.ties == 1


def test_scenes_tell_what_would_be_false():
    scenes = ScenesCollection("test", size=3, image_size=16)
    config = EvaluateConfig(probes=True)
    result = evaluate(BagOfTokens(context_length=300), scenes, name="m", config=config)
    found = result.long.probes.perturbations.contradicted
    assert (found.texts, found.ties) == (3, 0)
    [false] = scenes.contradictions(1)
    [true] = scenes.captions(1).long
    assert len(false.split()) == len(true.split())
    assert false != true
    assert PaintedTexts(("a",)).contradictions(0) == ()


def test_the_draw_is_seeded_and_bounded():
    texts = [f"a red bus is here. thing number {i}." for i in range(30)]
    images = torch.randn(30, 16, generator=torch.Generator().manual_seed(0))
    false = {i: text.replace("red", "blue") for i, text in enumerate(texts)}

    def draw(seed):
        arguments = (Ordered(), images, texts, torch.arange(30))
        return perturbations(*arguments, contradictions=false, n=7, seed=seed)

    found = draw(0)
    assert {one.texts for one in vars(found).values()} == {7}
    assert found == draw(0)
    assert found != draw(1)
    with pytest.raises(ValueError, match="n must be"):
        perturbations(BagOfTokens(), images, texts, torch.arange(30), n=0)
