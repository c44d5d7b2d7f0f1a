"""Leaderboards: the order of published and measured models, and which results stay out."""

from dataclasses import replace

import pytest
import torch

from longclip.evaluation import EvaluationResult
from longclip.evaluation.benchmarks import BENCHMARKS, Benchmark
from longclip.evaluation.leaderboard import leaderboard
from longclip.evaluation.ranking import retrieval_recall
from longclip.evaluation.results import TextRetrieval
from longclip.evaluation.zero_shot import ZeroShotResult

URBAN = BENCHMARKS["urban1k"]


def measured(right: int = 950, pool: int = 1000, **changes: object) -> EvaluationResult:
    """Return a result in which `right` of the texts and images find each other."""
    images = torch.eye(pool)
    texts = images.clone()
    texts[right:] = images[right:].roll(1, 0)
    own = torch.arange(pool)
    result = EvaluationResult(
        name="mine",
        collection="urban1k",
        context_length=248,
        images=pool,
        bad_images=(),
        long=TextRetrieval(retrieval_recall(images, texts, own), own, 0),
        short=None,
        zero_shot={},
        protocol=URBAN.protocol,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


def test_published_models_stand_by_their_mean() -> None:
    board = leaderboard(URBAN)
    means = [row.mean for row in board.rows]
    both = [mean for mean in means if mean is not None]
    assert both == sorted(both, reverse=True)
    # Of LongD-CLIP one direction is known; it stands below all others, with what is known.
    assert means[len(both) :] == [None]
    assert board.rows[-1].model == "LongD-CLIP"
    assert board.rows[-1].metrics == {"image_to_text R@1": 91.9}
    assert board.has_mean
    assert board.metrics == ("image_to_text R@1", "text_to_image R@1")
    of_clip = next(row for row in board.rows if row.model == "CLIP B/16")
    assert of_clip.mean == pytest.approx((68.1 + 53.6) / 2)


def test_a_measured_model_stands_in_its_place() -> None:
    board = leaderboard(URBAN, [measured(940)])
    assert board.refused == ()
    place = next(i for i, row in enumerate(board.rows) if row.published is None)
    row = board.rows[place]
    assert row.metrics == pytest.approx({"image_to_text R@1": 94.0, "text_to_image R@1": 94.0})
    above, below = board.rows[place - 1], board.rows[place + 1]
    assert above.model == "DeBias-CLIP L/14"
    assert row.mean == pytest.approx(94.0)
    assert (below.mean or 0) == pytest.approx(93.05)
    assert row.to_json()["measured"] is True
    assert above.to_json()["source"]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (measured(partial=True), "a part of the data"),
        (measured(protocol="the first line of each"), "another protocol"),
        (measured(protocol=""), "not by the benchmark's protocol"),
        (measured(90, 100), "its pool is 100 images and 100 texts, the benchmark's 1,000 images"),
        (measured(collection="docci"), "measured on docci, not on urban1k"),
        (measured(long=None), "no result of one long task"),
    ],
)
def test_what_is_not_comparable_stays_out(result: EvaluationResult, says: str) -> None:
    board = leaderboard(URBAN, [result])
    assert all(row.published for row in board.rows)
    [reason] = board.refused
    assert reason.startswith("mine is not in the table: ")
    assert says in reason


def test_results_on_other_data_beside_it_are_passed_over() -> None:
    board = leaderboard(URBAN, [measured(), measured(collection="docci")])
    assert board.refused == ()
    assert sum(row.published is None for row in board.rows) == 1


def imagenet_like(benchmark: Benchmark, right: float) -> EvaluationResult:
    targets = torch.arange(benchmark.images) % benchmark.classes
    wrong = torch.arange(benchmark.images) >= right * benchmark.images
    predictions = torch.where(wrong, (targets + 1) % benchmark.classes, targets)
    one = ZeroShotResult.of(targets, predictions, benchmark.classes)
    changes = {"collection": benchmark.name, "protocol": benchmark.protocol, "long": None}
    return measured(**changes, zero_shot={benchmark.name: one})


def test_classification_stands_by_its_accuracy() -> None:
    cifar = BENCHMARKS["cifar10"]
    board = leaderboard(cifar, [imagenet_like(cifar, 0.9)])
    assert board.refused == ()
    assert not board.has_mean
    names = [row.model for row in board.rows]
    assert names == [
        "CLIP L/14",
        "Long-CLIP L/14",
        "CLIP B/16",
        "Long-CLIP B/16",
        "mine",
        "direct fine-tuning B/16",
    ]
    assert board.rows[4].metrics == {"top1": pytest.approx(90.0)}
