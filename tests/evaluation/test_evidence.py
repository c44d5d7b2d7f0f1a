import pytest
import torch
from torch.nn.functional import cosine_similarity

from longclip.evaluation import text_evidence
from tests.helpers.encoders import BagOfTokens, painted

RIGHT = "a street with a red bus. a dog sleeps. the lamp is green."
WRONG = "a street with a red bus. a dog sleeps. the lamp is yellow."


def margin(encoder, text, right, wrong):
    query = encoder.encode_text([text])[0]
    return float(cosine_similarity(query, right, 0) - cosine_similarity(query, wrong, 0))


def test_scores_are_what_the_margin_loses_without_the_piece():
    encoder = BagOfTokens()
    right, wrong = encoder.encode_image([painted(RIGHT), painted(WRONG)])
    text = RIGHT.replace(". ", ".  \n")
    [evidence] = text_evidence(encoder, [text], right[None], wrong[None])

    pieces = [text[mark.start : mark.end] for mark in evidence.sentences]
    assert pieces == ["a street with a red bus.", "a dog sleeps.", "the lamp is green."]
    assert evidence.margin == pytest.approx(margin(encoder, text, right, wrong), abs=1e-6)
    for mark in (*evidence.sentences, *evidence.words):
        without = text[: mark.start] + text[mark.end :]
        expected = evidence.margin - margin(encoder, without, right, wrong)
        assert mark.score == pytest.approx(expected, abs=1e-6)

    best = max(evidence.sentences, key=lambda mark: mark.score)
    assert text[best.start : best.end] == "the lamp is green."
    assert [text[mark.start : mark.end] for mark in evidence.words] == [
        "the",
        "lamp",
        "is",
        "green",
    ]
    best = max(evidence.words, key=lambda mark: mark.score)
    assert text[best.start : best.end] == "green"


def test_many_texts_take_two_calls_and_keep_apart():
    class Counting(BagOfTokens):
        calls = 0

        def encode_text(self, texts, /, *, normalize=False):
            self.calls += 1
            return super().encode_text(texts, normalize=normalize)

    encoder = Counting()
    right, wrong = encoder.encode_image([painted(RIGHT), painted(WRONG)])
    texts = [RIGHT, WRONG, "one lamp"]
    rights, wrongs = torch.stack([right, wrong, right]), torch.stack([wrong, right, wrong])
    together = text_evidence(encoder, texts, rights, wrongs, deciding_sentences=2)
    assert encoder.calls == 2
    for i, text in enumerate(texts):
        [alone] = text_evidence(
            encoder, [text], rights[i : i + 1], wrongs[i : i + 1], deciding_sentences=2
        )
        assert alone.margin == pytest.approx(together[i].margin, abs=1e-6)
        assert [(m.start, m.end) for m in alone.words] == [
            (m.start, m.end) for m in together[i].words
        ]


def test_nothing_to_leave_out_is_no_error():
    images = torch.randn(1, 16)
    [evidence] = text_evidence(BagOfTokens(), [""], images, -images)
    assert evidence.words == ()
    with pytest.raises(ValueError, match="2 texts, 1 right"):
        text_evidence(BagOfTokens(), ["a", "b"], images, images)
