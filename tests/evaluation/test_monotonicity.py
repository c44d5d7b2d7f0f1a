"""Monotonicity, against the same shares counted text by text."""

import json
import statistics
from itertools import pairwise

import pytest
import torch

from longclip.evaluation.probes.monotonicity import monotonicity
from tests.helpers.encoders import BagOfTokens, cosine, painted

TEXTS = (
    "a red bus. the dog sleeps. a tall lamp.",
    "a red bus. the dog sleeps. a small tree. it rains. two doors.",
    "one cat. a box.",
    "only a house",
    "a lake. a boat. the sea. an old man. a bird. a sign. a ball.",
)


def scores_of(encoder, image, text):
    sentences = [f"{part}." for part in text.removesuffix(".").split(". ")]
    starts = [" ".join(sentences[:k]) for k in range(1, len(sentences) + 1)]
    rows = encoder.encode_text(starts).double().tolist()
    return [cosine(image.tolist(), row) for row in rows]


def ranks(scores):
    return [sum(b < a for b in scores) + (scores.count(a) - 1) / 2 for a in scores]


@pytest.mark.parametrize("seed", range(4))
def test_shares_are_those_of_every_text_alone(seed):
    encoder = BagOfTokens()
    images = torch.randn(5, 16, generator=torch.Generator().manual_seed(seed))
    owners = torch.tensor([4, 1, 0, 2, 3])
    found = monotonicity(encoder, images, TEXTS, owners)

    several = [i for i in range(5) if i != 3]
    scores = [scores_of(encoder, images[owners[i]], TEXTS[i]) for i in several]
    steps = [[b >= a for a, b in pairwise(own)] for own in scores]
    assert (found.texts, found.steps, found.unchanged) == (4, 2 + 4 + 1 + 6, 0)
    assert found.not_falling == pytest.approx(sum(map(sum, steps)) / 13)
    assert found.never_falling == pytest.approx(sum(map(all, steps)) / 4)
    correlations = [statistics.correlation(range(len(own)), ranks(own)) for own in scores]
    assert found.rank_correlation == pytest.approx(sum(correlations) / 4)
    # Five sentences make the parts 2+3 and 1+2+2; seven 3+4 and 2+2+3; three 1+2 and 1+1+1.
    halves = {3: (0, 2), 5: (1, 4), 2: (0, 1), 7: (2, 6)}
    thirds = {3: (0, 1, 2), 5: (0, 2, 4), 7: (1, 3, 6)}
    for k, ends in ((2, halves), (3, thirds)):
        rises = [
            all(a < b for a, b in pairwise([own[e] for e in ends[len(own)]]))
            for own in scores
            if len(own) in ends
        ]
        assert found.himo[k] == pytest.approx(sum(rises) / len(rises))
    assert json.loads(json.dumps(found.to_json()))["himo"]["2"] == found.himo[2]


def test_true_sentences_raise_the_score_of_what_is_a_sum():
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    found = monotonicity(encoder, images, TEXTS, torch.arange(5))
    # Not always: the tokens of a sentence may point away from the others of its text.
    assert found.not_falling > 0.9
    assert found.rank_correlation > 0.95
    assert found.himo == {2: 1.0, 3: 1.0}


class Halting(BagOfTokens):
    """Reads 6 tokens; rounds differently with the batch."""

    def encode_text(self, texts, /, **options):
        rows = super().encode_text(texts, **options)
        return rows + 1e-6 * len(texts) * torch.arange(len(texts))[:, None] * torch.eye(16)[0]


def test_what_is_not_read_changes_no_score():
    texts = ("a red bus stands. the dog sleeps. a tall lamp.",)
    encoder = Halting(context_length=6)
    found = monotonicity(encoder, torch.ones(1, 16), texts, torch.tensor([0]))
    assert (found.steps, found.unchanged) == (2, 2)
    assert (found.not_falling, found.never_falling) == (1.0, 1.0)
    assert found.rank_correlation == 0
    assert found.himo == {2: 0.0, 3: 0.0}, "these ask for a rise"


def test_texts_of_one_sentence_have_no_part():
    encoder = BagOfTokens()
    found = monotonicity(encoder, torch.ones(1, 16), ("only a house",), torch.tensor([0]))
    assert (found.texts, found.steps) == (0, 0)
    assert found.not_falling is found.rank_correlation is found.himo[2] is None
    assert encoder.texts_seen == []


def test_the_draw_is_seeded_and_bounded():
    texts = [f"a red bus. thing number {i}." for i in range(30)]
    images = torch.randn(30, 16, generator=torch.Generator().manual_seed(0))
    draws = [
        monotonicity(BagOfTokens(), images, texts, torch.arange(30), n=10, seed=s)
        for s in (0, 0, 1, 2)
    ]
    assert all(found.texts == 10 for found in draws)
    assert draws[0] == draws[1]
    assert len({found.rank_correlation for found in draws}) > 1
    with pytest.raises(ValueError, match="n must be"):
        monotonicity(BagOfTokens(), images, texts, torch.arange(30), n=0)
