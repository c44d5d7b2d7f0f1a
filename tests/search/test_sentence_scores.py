import statistics

import numpy as np
import pytest

from longclip.search.query.pieces import unit
from longclip.search.query.sentence_scores import MEANINGS, Reference, verdict


def random_units(count: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 12)).astype(np.float32))


def test_scores_are_standard_deviations_above_the_mean_of_the_reference():
    sentences, images, reference = (random_units(n, n) for n in (3, 5, 40))
    scores = Reference(reference).standard_scores(sentences, images)
    assert scores.shape == (5, 3)
    for i, image in enumerate(images):
        for s, sentence in enumerate(sentences):
            usual = [float(other @ sentence) for other in reference]
            expected = (image @ sentence - statistics.fmean(usual)) / statistics.pstdev(usual)
            assert scores[i, s] == pytest.approx(expected, abs=1e-4)


def test_a_sentence_that_is_equally_near_to_all_says_nothing():
    same = np.repeat(random_units(1, 0), 9, axis=0)
    scores = Reference(same).standard_scores(random_units(2, 1), same[:3])
    assert scores.tolist() == [[0, 0]] * 3


def test_without_a_reference_there_is_nothing_to_compare_with():
    nobody = Reference(np.empty((0, 12), np.float32))
    assert nobody.standard_scores(random_units(2, 1), random_units(1, 0)).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        (3.0, "yes"),
        (2.99, "some"),
        (1.0, "some"),
        (0.99, "open"),
        (0.0, "open"),
        (-0.01, "no"),
        (5, "yes"),
    ],
)
def test_verdicts(z, expected):
    assert verdict(z) == expected
    assert MEANINGS[expected]
