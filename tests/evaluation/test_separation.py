import json
import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.evaluation.probes.separation import PERCENTILES, _pairs, separation
from tests.helpers.encoders import cosine, vector_of

START = (
    "a wide street on a grey morning in late winter with some people and cars and a row of houses"
)
TEXTS = (
    f"{START}. a red bus.",
    f"{START}. a blue bus.",
    "a dog sleeps. on the left a bone.",
    "a dog sleeps. on the right a ball.",
    "a dog sleeps. on the right a ball.",
    "a cat.",
)
OWNERS = (0, 1, 2, 3, 0, 3)


def pool():
    images = torch.stack([vector_of(f"image {i}") for i in range(4)])
    texts = torch.stack([vector_of(text) * 2 for text in TEXTS])
    return images, TEXTS, texts, torch.tensor(OWNERS)


def expect(found, cosines):
    assert found.pairs == len(cosines)
    assert found.mean == pytest.approx(math.fsum(cosines) / len(cosines), abs=1e-6)
    values = sorted(cosines)
    assert found.percentiles[50] == pytest.approx(
        (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2, abs=1e-6
    )
    assert tuple(found.percentiles) == PERCENTILES
    assert list(found.percentiles.values()) == sorted(found.percentiles.values())


def test_every_number_against_loops():
    images, texts, rows, owners = pool()
    found = separation(images, texts, rows, owners)
    row, image = rows.tolist(), images.tolist()
    different = [
        (i, j)
        for i, j in combinations(range(6), 2)
        if OWNERS[i] != OWNERS[j] and TEXTS[i] != TEXTS[j]
    ]
    expect(found.text_text, [cosine(row[i], row[j]) for i, j in different])
    expect(found.same_first_tokens, [cosine(row[0], row[1])])
    same_sentence = [(0, 1), (2, 3), (2, 4)]
    expect(found.same_first_sentence, [cosine(row[i], row[j]) for i, j in same_sentence])
    expect(found.image_image, [cosine(a, b) for a, b in combinations(image, 2)])

    true = [cosine(image[o], row[t]) for t, o in enumerate(OWNERS)]
    rival = [
        max(cosine(image[i], row[t]) for i in range(4) if i != o) for t, o in enumerate(OWNERS)
    ]
    expect(found.true_pairs, true)
    expect(found.hardest_rivals, rival)
    expect(found.margins, [a - b for a, b in zip(true, rival, strict=True)])

    unit = torch.nn.functional.normalize
    gap = unit(images.double(), dim=1).mean(0) - unit(rows.double(), dim=1).mean(0)
    assert found.modality_gap == pytest.approx(float(gap.norm()), abs=1e-6)
    as_json = json.loads(json.dumps(found.to_json()))
    assert as_json["text_text"]["p50"] == found.text_text.percentiles[50]


def test_what_has_no_pairs_is_none():
    images, texts, rows, _ = pool()
    found = separation(images[:1], texts[:2], rows[:2], torch.tensor([0, 0]))
    assert found.image_image is found.hardest_rivals is found.margins is None
    assert found.text_text is found.same_first_tokens is None
    assert found.true_pairs.pairs == 2
    with pytest.raises(ValueError, match="1 texts, but 2 text embeddings"):
        separation(images[:1], texts[:1], rows[:2], torch.tensor([0, 0]))


def test_many_pairs_are_sampled_and_the_same_each_time():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(300, 16, generator=generator)
    texts = [f"text {i}" for i in range(300)]
    pool = (images, texts, images + torch.randn(300, 16, generator=generator), torch.arange(300))
    whole = separation(*pool)
    assert whole.image_image.pairs == 300 * 299 // 2
    sampled = separation(*pool, max_pairs=5000)
    assert sampled == separation(*pool, max_pairs=5000)
    assert sampled.image_image.pairs == 5000
    assert sampled.image_image.mean == pytest.approx(whole.image_image.mean, abs=0.02)
    assert sampled != separation(*pool, max_pairs=5000, seed=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30))
def test_the_pairs_of_groups_are_all_of_them_once(groups):
    a, b = _pairs(torch.tensor(groups, dtype=torch.int64), 10**6, 0)
    found = sorted(tuple(sorted(pair)) for pair in zip(a.tolist(), b.tolist(), strict=True))
    assert found == [
        (i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j]
    ]


def test_the_pairs_of_a_very_large_group_stay_inside():
    a, b = _pairs(torch.zeros(200_000, dtype=torch.int64), 100_000, 0)
    assert bool((a != b).all())
    assert int(torch.cat([a, b]).max()) < 200_000
    assert float(torch.cat([a, b]).double().mean()) == pytest.approx(100_000, rel=0.02)
