import json
import statistics

import pytest
import torch

from longclip.evaluation import retrieval_recall, top1_accuracy
from longclip.evaluation.stats import (
    bootstrap_mean_top1,
    bootstrap_recall,
    bootstrap_top1,
    percentile_intervals,
    resampled_ratios,
)


def some_recall(images=40, texts_per_image=3, seed=0, noise=1.5):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(images, 8, generator=generator)
    owners = torch.arange(images * texts_per_image) % images
    texts = embeddings[owners]
    texts = texts + noise * torch.randn(texts.shape, generator=generator)
    return retrieval_recall(embeddings, texts, owners, ks=(1, 5)), owners


def resample(recall, owners, drawn, k):
    """Recall where image i counts as often as it stands in `drawn`, text by text."""
    images = [rank <= k for rank in recall.ranks.image_to_text.tolist()]
    texts = [rank <= k for rank in recall.ranks.text_to_image.tolist()]
    hits = [
        hit for i in drawn for hit, owner in zip(texts, owners.tolist(), strict=True) if owner == i
    ]
    return statistics.fmean(images[i] for i in drawn), statistics.fmean(hits)


def test_resamples_are_recalls_of_drawn_images_with_all_their_texts():
    recall, _ = some_recall()
    # Uneven clusters: the images have 1 to 4 texts.
    owners = torch.cat([torch.full((1 + i % 4,), i) for i in range(40)])[:120]
    owners = torch.cat([owners, torch.full((120 - len(owners),), 39)])
    found = bootstrap_recall(recall, owners, resamples=150, seed=3)
    # The same draws, one at a time: the generator gives them in the same order.
    drawn = torch.randint(40, (150, 40), generator=torch.Generator().manual_seed(3)).tolist()
    for k in (1, 5):
        i2t, t2i = zip(*(resample(recall, owners, row, k) for row in drawn), strict=True)
        for interval, values in (
            (found.image_to_text[k], i2t),
            (found.text_to_image[k], t2i),
        ):
            low, high = torch.quantile(
                torch.tensor(values, dtype=torch.float64),
                torch.tensor([0.025, 0.975], dtype=torch.float64),
            ).tolist()
            assert (interval.low, interval.high) == pytest.approx((low, high))


def test_values_are_the_recalls_and_lie_in_their_intervals():
    recall, owners = some_recall()
    found = bootstrap_recall(recall, owners, resamples=500)
    for k in (1, 5):
        for interval, value in (
            (found.image_to_text[k], recall.image_to_text[k]),
            (found.text_to_image[k], recall.text_to_image[k]),
        ):
            assert interval.value == pytest.approx(value)
            assert interval.low <= value <= interval.high
            assert 0 < interval.high - interval.low < 0.5
    as_json = json.loads(json.dumps(found.to_json()))
    assert as_json["text_to_image"]["R@1"]["low"] == found.text_to_image[1].low
    assert found == bootstrap_recall(recall, owners, resamples=500)
    assert found != bootstrap_recall(recall, owners, resamples=500, seed=1)


def test_texts_of_one_image_are_no_independent_queries():
    """Fivefold texts: five times the queries, but not a narrower interval."""
    images = torch.eye(60)
    right = torch.arange(60) % 2 == 0
    texts = torch.where(right[:, None], images, images.roll(1, 0))
    once = retrieval_recall(images, texts, torch.arange(60), ks=(1,))
    owners = torch.arange(60).repeat_interleave(5)
    often = retrieval_recall(images, texts.repeat_interleave(5, 0), owners, ks=(1,))
    narrow = bootstrap_recall(once, torch.arange(60)).text_to_image[1]
    wide = bootstrap_recall(often, owners).text_to_image[1]
    assert (narrow.low, narrow.high) == pytest.approx((wide.low, wide.high))


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for trial in range(300):
        hits = (torch.rand(200, 1, generator=generator) < 0.3).double()
        drawn = resampled_ratios(hits, torch.ones_like(hits), resamples=200, seed=trial)
        [interval] = percentile_intervals(hits.mean(0), drawn, 0.9)
        held += interval.low <= 0.3 <= interval.high
    assert 0.85 <= held / 300 <= 0.95


def test_top1():
    classes = torch.eye(4)
    images = torch.cat([classes, classes.roll(1, 0), classes])
    result = top1_accuracy(images, classes, torch.arange(12) % 4)
    interval = bootstrap_top1(result)
    assert interval.value == pytest.approx(8 / 12)
    assert 0.2 < interval.low < 8 / 12 < interval.high <= 1
    perfect = top1_accuracy(classes, classes, torch.arange(4))
    assert (bootstrap_top1(perfect).low, bootstrap_top1(perfect).high) == (1, 1)


def test_the_mean_of_tasks_draws_an_image_with_all_its_answers():
    classes = torch.eye(4)
    good = top1_accuracy(classes.repeat(10, 1), classes, torch.arange(40) % 4)
    half = top1_accuracy(classes.repeat(10, 1), classes, torch.arange(40) % 2)
    assert bootstrap_mean_top1([half]) == bootstrap_top1(half)
    both = bootstrap_mean_top1([good, half])
    assert both.value == pytest.approx(0.75)
    # The answers of `good` are all right, so only those of `half` vary, and count half.
    alone = bootstrap_top1(half)
    assert both.low == pytest.approx((1 + alone.low) / 2)
    assert both.high == pytest.approx((1 + alone.high) / 2)
    # The same task twice is no more certain than once.
    assert bootstrap_mean_top1([half, half]) == alone
    with pytest.raises(ValueError, match="same images"):
        bootstrap_mean_top1([half, top1_accuracy(classes, classes, torch.arange(4))])


def test_useless_options_are_refused():
    recall, owners = some_recall()
    with pytest.raises(ValueError, match="measured on 120 texts"):
        bootstrap_recall(recall, owners[:-1])
    with pytest.raises(ValueError, match="at least 100"):
        bootstrap_recall(recall, owners, resamples=10)
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_recall(recall, owners, level=95)
