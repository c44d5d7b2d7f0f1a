import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.evaluation import retrieval_ranks, retrieval_recall, strongest_rivals
from tests.helpers.encoders import EXACT_VECTORS, cosine


@st.composite
def pools(draw):
    images = draw(st.lists(EXACT_VECTORS, min_size=1, max_size=7))
    owners = list(range(len(images))) + draw(st.lists(st.integers(0, len(images) - 1), max_size=10))
    owners = draw(st.permutations(owners))
    texts = draw(st.lists(EXACT_VECTORS, min_size=len(owners), max_size=len(owners)))
    return images, texts, owners


def tensors(pool):
    images, texts, owners = pool
    return torch.tensor(images).float(), torch.tensor(texts).float(), torch.tensor(owners)


def reference_ranks(score, owners):
    """From `score[image][text]`, by counting."""
    images, texts = range(len(score)), range(len(owners))
    text_to_image = [
        1 + sum(score[i][t] >= score[owners[t]][t] for i in images if i != owners[t]) for t in texts
    ]
    image_to_text = []
    for i in images:
        best = max(score[i][t] for t in texts if owners[t] == i)
        image_to_text.append(1 + sum(score[i][t] >= best for t in texts if owners[t] != i))
    return image_to_text, text_to_image


@settings(max_examples=150, deadline=None)
@given(pools(), st.integers(1, 9))
def test_ranks_among_many_ties(pool, chunk_size):
    images, texts, owners = pool
    ranks = retrieval_ranks(*tensors(pool), chunk_size=chunk_size)
    score = [[cosine(image, text) for text in texts] for image in images]
    assert (ranks.image_to_text.tolist(), ranks.text_to_image.tolist()) == reference_ranks(
        score, owners
    )


# The same examples each time: among random ones, sooner or later two rivals would differ by less
# than the 1e-8 that a cosine is exact to.
@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([3, 64, 100]))
def test_copies_tie_exactly_and_chunks_never_change_a_rank(seed, chunk_size, width):
    generator = torch.Generator().manual_seed(seed)
    originals = torch.randn(12, width, generator=generator)
    original_of = torch.randint(12, (40,), generator=generator)
    images = originals[original_of]
    owners = torch.cat([torch.arange(40), torch.randint(40, (25,), generator=generator)])
    texts = images[owners] + torch.randn(65, width, generator=generator)

    whole = retrieval_ranks(images, texts, owners)
    parts = retrieval_ranks(images, texts, owners, chunk_size=chunk_size)
    assert torch.equal(whole.image_to_text, parts.image_to_text)
    assert torch.equal(whole.text_to_image, parts.text_to_image)
    by_original = [[cosine(a, b) for b in texts.tolist()] for a in originals.tolist()]
    score = [by_original[original] for original in original_of.tolist()]
    assert (whole.image_to_text.tolist(), whole.text_to_image.tolist()) == reference_ranks(
        score, owners.tolist()
    )


def exact_scores(images, texts):
    """Cosines of the unit vectors rounded to 2^-26, as integers: multiples of 2^-52, all exact."""
    a, b = images.double().numpy(), texts.double().numpy()
    a = np.rint(a / np.linalg.norm(a, axis=1, keepdims=True) * 2**26).astype(np.int64)
    b = np.rint(b / np.linalg.norm(b, axis=1, keepdims=True) * 2**26).astype(np.int64)
    return (a @ b.T).tolist()


@pytest.mark.parametrize("nearly", [0.0, 1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("copies", [3, 150])
@pytest.mark.parametrize("chunk_size", [64, 1000])
def test_rivals_closer_than_float32_can_tell_are_ranked_exactly(nearly, copies, chunk_size):
    """Few close calls are looked at one by one, many in a product of their own."""
    generator = torch.Generator().manual_seed(copies)
    images = torch.randn(200, 96, generator=generator)
    sources = torch.randint(200 - copies, (copies,), generator=generator)
    noise = torch.randn(copies, 96, generator=generator)
    images[-copies:] = images[sources] + nearly * noise
    owners = torch.cat([torch.arange(200), torch.randint(200, (300,), generator=generator)])
    owners = owners[torch.randperm(500, generator=generator)]
    texts = images[owners] + torch.randn(500, 96, generator=generator)
    ranks = retrieval_ranks(images, texts, owners, chunk_size=chunk_size)
    score = exact_scores(images, texts)
    assert (ranks.image_to_text.tolist(), ranks.text_to_image.tolist()) == reference_ranks(
        score, owners.tolist()
    )


def test_process_wide_precision_changes_no_rank():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(300, 256, generator=generator)
    texts = images + 3 * torch.randn(300, 256, generator=generator)
    owners = torch.arange(300)
    plain = retrieval_ranks(images, texts, owners)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            coarse = retrieval_ranks(images.requires_grad_(), texts, owners)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(plain.image_to_text, coarse.image_to_text)
    assert torch.equal(plain.text_to_image, coarse.text_to_image)


@settings(max_examples=50, deadline=None)
@given(pools(), st.randoms())
def test_permuting_images_and_texts_permutes_the_ranks(pool, random):
    images, texts, owners = tensors(pool)
    image_order = torch.tensor(random.sample(range(len(images)), len(images)))
    text_order = torch.tensor(random.sample(range(len(texts)), len(texts)))
    plain = retrieval_ranks(images, texts, owners)
    mixed = retrieval_ranks(
        images[image_order], texts[text_order], image_order.argsort()[owners[text_order]]
    )
    assert torch.equal(mixed.image_to_text, plain.image_to_text[image_order])
    assert torch.equal(mixed.text_to_image, plain.text_to_image[text_order])


def test_recall_counts_ranks_up_to_k():
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0, 0], [1.0, 0.5, 0], [1.0, 0.5, 0.1], [0, 1.0, 0]])
    result = retrieval_recall(images, texts, torch.tensor([0, 1, 2, 1]), ks=(1, 2, 3))
    assert result.ranks.text_to_image.tolist() == [1, 2, 3, 1]
    assert result.text_to_image == {1: 0.5, 2: 0.75, 3: 1.0}
    assert result.ranks.image_to_text.tolist() == [1, 1, 1]
    assert result.to_json() == {
        "images": 3,
        "texts": 4,
        "image_to_text": {"R@1": 1.0, "R@2": 1.0, "R@3": 1.0},
        "text_to_image": {"R@1": 0.5, "R@2": 0.75, "R@3": 1.0},
    }


def test_length_does_not_matter_and_half_precision_is_welcome():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(20, 8, generator=generator).half()
    texts = (images + torch.randn(20, 8, generator=generator)).half()
    owners = torch.arange(20)
    scaled = texts.float() * torch.linspace(0.01, 100, 20)[:, None]
    plain = retrieval_ranks(images.float(), texts.float(), owners)
    assert torch.equal(plain.text_to_image, retrieval_ranks(images, texts, owners).text_to_image)
    assert torch.equal(
        plain.image_to_text, retrieval_ranks(images.float(), scaled, owners).image_to_text
    )


@settings(max_examples=50, deadline=None)
@given(pools().filter(lambda pool: len(pool[0]) > 1), st.integers(1, 9))
def test_the_strongest_rival_is_a_nearest_other_image(pool, chunk_size):
    images, texts, owners = pool
    rivals = strongest_rivals(*tensors(pool), chunk_size=chunk_size).tolist()
    for text, owner, rival in zip(texts, owners, rivals, strict=True):
        others = [cosine(x, text) for i, x in enumerate(images) if i != owner]
        assert rival != owner
        assert cosine(images[rival], text) == max(others)


@pytest.mark.parametrize(
    ("images", "texts", "owners", "message"),
    [
        (torch.eye(2), torch.eye(2), torch.tensor([0, 0]), "1 of 2 images have no text"),
        (torch.eye(2), torch.eye(2), torch.tensor([0, 2]), "holds 2, outside the 2 images"),
        (torch.eye(2), torch.eye(2), torch.tensor([-1, 1]), "holds -1, outside"),
        (torch.eye(2), torch.eye(2), torch.tensor([0]), "one image row per text"),
        (torch.eye(2), torch.eye(2), torch.tensor([0.0, 1.0]), "must be int64"),
        (torch.eye(2), torch.ones(2, 3), torch.tensor([0, 1]), "width 2 and texts 3"),
        (torch.eye(2), torch.zeros(2, 2), torch.tensor([0, 1]), "2 of 2 text embeddings are zero"),
        (torch.eye(2) * math.nan, torch.eye(2), torch.tensor([0, 1]), "not finite"),
        (torch.eye(2).long(), torch.eye(2), torch.tensor([0, 1]), "floating-point"),
        (torch.empty(0, 2), torch.empty(0, 2), torch.tensor([]).long(), "nothing to rank"),
    ],
)
def test_what_cannot_be_ranked_is_refused(images, texts, owners, message):
    with pytest.raises(ValueError, match=message):
        retrieval_ranks(images, texts, owners)


def test_useless_options_are_refused():
    pool = (torch.eye(2), torch.eye(2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="ks must be"):
        retrieval_recall(*pool, ks=(0, 1))
    with pytest.raises(ValueError, match="chunk_size"):
        retrieval_ranks(*pool, chunk_size=0)
    with pytest.raises(ValueError, match="at least two images"):
        strongest_rivals(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([0]))
