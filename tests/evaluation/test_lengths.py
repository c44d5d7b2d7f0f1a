import json

import pytest
import torch
from evaluation_fakes import BagOfTokens, painted
from hypothesis import given, settings
from hypothesis import strategies as st

from longclip.evaluation import characters_read, recall_by_length, retrieval_recall
from longclip.inputs import clip_tokenizer

TEXTS = ("red car", "red car blue house", "red car blue tree tall lamp", "dog")


def test_each_point_is_the_recall_of_the_texts_cut_there():
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    owners = torch.arange(4)
    curve = recall_by_length(encoder, images, TEXTS, owners, tokens=(6, 1, 3, 4, 50), k=1)
    assert curve.tokens == (1, 3, 4, 6, 50)
    assert curve.texts_cut == (3, 2, 1, 0, 0)
    for i, n in enumerate(curve.tokens):
        cut = encoder.encode_text([" ".join(text.split()[:n]) for text in TEXTS])
        expected = retrieval_recall(images, cut, owners, ks=(1,))
        assert curve.text_to_image[i] == expected.text_to_image[1]
        assert curve.image_to_text[i] == expected.image_to_text[1]
    assert curve.text_to_image[0] < curve.text_to_image[-1] == 1.0
    assert json.loads(json.dumps(curve.to_json()))["tokens"] == [1, 3, 4, 6, 50]


def test_the_curve_ends_with_the_context_and_nothing_is_embedded_twice():
    encoder = BagOfTokens(context_length=6)
    images = torch.randn(4, 16)
    curve = recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(2, 4, 5, 6))
    assert curve.tokens == (2, 4)
    assert len(encoder.texts_seen) == 4 + 2
    assert all(ids[-1] == clip_tokenizer().eot_token_id for ids in encoder.texts_seen)

    with pytest.raises(ValueError, match="at most 4"):
        recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(5, 6))
    with pytest.raises(ValueError, match="from 1 up"):
        recall_by_length(encoder, images, TEXTS, torch.arange(4), tokens=(0, 3))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "lamp", "antidisestablishment", "é,", "\n", "42"])),
    st.integers(3, 20),
)
def test_the_part_read_is_the_longest_whole_words_that_fit(words, context_length):
    text = "  ".join(words)
    end = characters_read(text, context_length)

    def tokens(part):
        return len(clip_tokenizer().encode([part])[0])

    assert tokens(text[:end]) <= context_length
    rest = text[end:].split()
    if end < len(text):
        assert rest
        assert tokens(text[:end] + " " + rest[0]) > context_length
