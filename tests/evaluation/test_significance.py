import json
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.evaluation import retrieval_recall, top1_accuracy
from longclip.evaluation.stats import (
    bootstrap_recall,
    compare_recall,
    compare_top1,
    mcnemar,
)


def recall_with(noise, seed, ks=(1, 5), images=80):
    generator = torch.Generator().manual_seed(7)
    embeddings = torch.randn(images, 8, generator=generator)
    owners = torch.arange(2 * images) % images
    generator.manual_seed(seed)
    texts = embeddings[owners]
    texts = texts + noise * torch.randn(texts.shape, generator=generator)
    return retrieval_recall(embeddings, texts, owners, ks=ks), owners


def test_a_model_does_not_differ_from_itself():
    recall, owners = recall_with(1.0, seed=0)
    found = compare_recall(recall, recall, owners)
    for differences in (found.image_to_text, found.text_to_image):
        for k in (1, 5):
            difference = differences[k]
            assert (difference.interval.value, difference.interval.low) == (0, 0)
            assert difference.p_value == 1


def test_a_clear_difference_is_seen_and_signed():
    worse, owners = recall_with(2.0, seed=0)
    better, _ = recall_with(0.5, seed=1)
    found = compare_recall(worse, better, owners)
    difference = found.text_to_image[1]
    assert difference.a == pytest.approx(worse.text_to_image[1])
    assert difference.b == pytest.approx(better.text_to_image[1])
    assert difference.interval.value == pytest.approx(difference.b - difference.a)
    assert 0 < difference.interval.low < difference.interval.value < difference.interval.high
    assert difference.p_value == 1 / 2001
    back = compare_recall(better, worse, owners).text_to_image[1]
    assert back.interval.value == pytest.approx(-difference.interval.value)
    assert back.p_value == difference.p_value
    assert json.loads(json.dumps(found.to_json()))["text_to_image"]["R@1"]["p_value"] < 0.001


def test_pairing_is_sharper_than_two_intervals():
    """Where one model is the other with a few more hits, only the pairs show it."""
    images = torch.eye(200)
    owners = torch.arange(200)
    hit = owners % 2 == 0
    more = hit | (owners < 20)
    first, second = (
        retrieval_recall(images, torch.where(h[:, None], images, images.roll(1, 0)), owners)
        for h in (hit, more)
    )
    paired = compare_recall(first, second, owners).text_to_image[1]
    assert paired.p_value < 0.01
    alone = [bootstrap_recall(r, owners).text_to_image[1] for r in (first, second)]
    assert alone[0].high > alone[1].low


def test_equal_models_seldom_look_different():
    """Under the null hypothesis p-values below 0.1 come up about one time in ten."""
    generator = torch.Generator().manual_seed(0)
    classes, targets = torch.eye(2), torch.zeros(150, dtype=torch.int64)
    rejected = 0
    for trial in range(200):
        a, b = (
            top1_accuracy(classes[torch.randint(2, (150,), generator=generator)], classes, targets)
            for _ in range(2)
        )
        found = compare_top1(a, b, resamples=200, seed=trial)
        rejected += found.difference.p_value < 0.1
    assert 0.04 <= rejected / 200 <= 0.17


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b, both):
    a = torch.tensor([True] * only_a + [False] * only_b + [True] * both)
    b = torch.tensor([False] * only_a + [True] * only_b + [True] * both)
    n, smaller = only_a + only_b, min(only_a, only_b)
    tail = Fraction(sum(math.comb(n, i) for i in range(smaller + 1)), 2**n)
    found = mcnemar(a.bool(), b.bool())
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p_value == pytest.approx(float(min(1, 2 * tail)), rel=1e-9)


def test_mcnemar_of_many_queries():
    right = torch.arange(100_000) % 2 == 0
    assert mcnemar(right, ~right).p_value == 1
    slightly = torch.arange(100_000) < 51_000
    assert mcnemar(slightly, ~slightly).p_value == pytest.approx(2.5e-10, rel=0.1)


def test_top1_counts_what_only_one_answers():
    classes, targets = torch.eye(3), torch.arange(30) % 3
    truth = classes[targets]
    first = torch.where((torch.arange(30) < 12)[:, None], truth.roll(1, 1), truth)
    second = torch.where((torch.arange(30) < 4)[:, None], truth.roll(1, 1), truth)
    found = compare_top1(
        top1_accuracy(first, classes, targets), top1_accuracy(second, classes, targets)
    )
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == (0, 8)
    assert found.mcnemar.p_value == pytest.approx(2 / 2**8)
    assert found.difference.interval.value == pytest.approx(8 / 30)
    assert found.to_json()["mcnemar"]["only_b"] == 8


def test_other_pools_are_refused():
    recall, owners = recall_with(1.0, seed=0)
    small, _ = recall_with(1.0, seed=0, images=40)
    with pytest.raises(ValueError, match="different pools: 80 images and 160 texts"):
        compare_recall(recall, small, owners)
    other_ks, _ = recall_with(1.0, seed=0, ks=(10,))
    with pytest.raises(ValueError, match="no common k"):
        compare_recall(recall, other_ks, owners)

    classes = torch.eye(2)
    one = top1_accuracy(classes, classes, torch.tensor([0, 1]))
    other = top1_accuracy(classes, classes, torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="different tasks"):
        compare_top1(one, other)
    with pytest.raises(ValueError, match="the same queries"):
        mcnemar(torch.tensor([True]), torch.tensor([True, False]))
