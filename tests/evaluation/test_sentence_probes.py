import json
import statistics

import pytest
import torch

from longclip.evaluation import retrieval_recall
from longclip.evaluation.probes.sentence_probes import sentence_probes
from tests.helpers.encoders import BagOfTokens, painted

TEXTS = (
    "a red bus. the dog sleeps. a tall lamp.",
    "a red bus. the dog sleeps. a small tree.",
    "a red bus. one cat.",
    "only a house",
    "a red bus. the dog sleeps. a tall lamp. a sign. two doors.",
)
OWNERS = torch.arange(5)


class Ordered(BagOfTokens):
    """Weighs a token by its place, so that order matters."""

    def encode_text(self, texts, /):
        rows = super().encode_text(texts)
        for row, text in zip(rows, texts, strict=True):
            row += sum(i * ord(c) for i, c in enumerate(text)) / 1e4
        return rows


def reference(encoder, images, texts, k):
    recall = retrieval_recall(images, encoder.encode_text(texts), OWNERS, ks=(k,))
    changed = [i for i, text in enumerate(texts) if text != TEXTS[i]]
    hits = [recall.ranks.text_to_image[i] <= k for i in changed]
    return recall.image_to_text[k], recall.text_to_image[k], len(changed), hits


def check(probe, encoder, images, texts, k):
    i2t, t2i, changed, hits = reference(encoder, images, texts, k)
    assert (probe.image_to_text, probe.text_to_image) == pytest.approx((i2t, t2i))
    assert probe.texts_changed == changed
    if changed:
        assert probe.changed_text_to_image == pytest.approx(sum(hits) / changed)
    else:
        assert probe.changed_text_to_image is None


def without(place):
    parts = [text.removesuffix(".").split(". ") for text in TEXTS]
    texts = []
    for own, text in zip(parts, TEXTS, strict=True):
        p = place(len(own))
        whole = len(own) < 2 or p is None or p >= len(own)
        kept = [sentence + "." for i, sentence in enumerate(own) if i != p]
        texts.append(text if whole else " ".join(kept))
    return texts


@pytest.mark.parametrize("k", [1, 2])
def test_each_probe_is_the_recall_of_the_texts_changed_by_hand(k):
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    found = sentence_probes(encoder, images, TEXTS, OWNERS, k=k, nth=9)
    assert found.texts_of_one_sentence == 1
    check(found.whole, encoder, images, list(TEXTS), k)
    assert found.whole.text_to_image == 1.0
    assert len(found.without_nth) == 5
    for p, probe in enumerate(found.without_nth):
        check(probe, encoder, images, without(lambda count, p=p: p), k)
    assert [probe.texts_changed for probe in found.without_nth] == [4, 4, 3, 1, 1]
    assert found.positions == (0, 0.25, 0.5, 0.75, 1)
    places = {3: (0, 1, 1, 2, 2), 2: (0, 0, 1, 1, 1), 5: (0, 1, 2, 3, 4), 1: (0,) * 5}
    for b, probe in enumerate(found.without_at):
        check(probe, encoder, images, without(lambda count, b=b: places[count][b]), k)
        assert probe.texts_changed == 4
        assert probe.changed_text_to_image_whole == 1.0
    assert found.without_first == found.without_nth[0]
    first = [text.split(". ")[0] + ("." if ". " in text else "") for text in TEXTS]
    check(found.only_first, encoder, images, first, k)
    # A sum does not know the order of its tokens.
    assert all(probe.text_to_image == 1.0 for probe in found.shuffled)


def test_shuffling_changes_every_text_that_it_can_and_depends_on_the_seed():
    encoder = Ordered()
    images = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    found = sentence_probes(encoder, images, TEXTS, OWNERS, k=2, seeds=(0, 1, 2, 3))
    assert [probe.texts_changed for probe in found.shuffled] == [4] * 4
    mean, spread = found.shuffled_text_to_image
    values = [probe.text_to_image for probe in found.shuffled]
    assert mean == pytest.approx(statistics.fmean(values))
    assert spread == pytest.approx(statistics.pstdev(values))
    shuffled = {text for text in encoder.texts_seen if sorted(text.split()) != text.split()}
    assert "one cat. a red bus." in shuffled
    again = sentence_probes(Ordered(), images, TEXTS, OWNERS, k=2, seeds=(0, 1, 2, 3))
    assert again == found
    as_json = json.loads(json.dumps(found.to_json()))
    assert as_json["shuffled"]["text_to_image"]["spread"] == spread
    assert as_json["without_last"] == found.without_at[-1].to_json()


def test_nothing_is_embedded_twice_and_whole_texts_only_where_they_are_not_known():
    encoder = BagOfTokens()
    images = encoder.encode_image([painted(text) for text in TEXTS])
    plain = sentence_probes(encoder, images, TEXTS, OWNERS)
    assert len(encoder.texts_seen) == len(set(encoder.texts_seen))
    assert set(TEXTS) <= set(encoder.texts_seen)

    known = BagOfTokens()
    found = sentence_probes(
        known, images, TEXTS, OWNERS, text_embeddings=BagOfTokens().encode_text(TEXTS)
    )
    assert found == plain
    assert set(encoder.texts_seen) - set(known.texts_seen) == set(TEXTS)


def test_texts_of_one_sentence_are_left_whole():
    encoder = BagOfTokens()
    texts = ("a red bus", "a dog.")
    images = encoder.encode_image([painted(text) for text in texts])
    found = sentence_probes(encoder, images, texts, torch.arange(2))
    assert found.texts_of_one_sentence == 2
    assert {probe.texts_changed for probe in (*found.without_at, *found.shuffled)} == {0}
    assert found.only_first.changed_text_to_image is None
    with pytest.raises(ValueError, match="bins >= 2"):
        sentence_probes(encoder, images, texts, torch.arange(2), bins=1)
