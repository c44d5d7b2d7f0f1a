import json
import re

import pytest
import torch

from longclip.evaluation.probes.details import ALTERNATIVES, alter_details, detail_accuracy
from longclip.text.tokenizer import clip_tokenizer
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.encoders import BagOfTokens, painted
from tests.helpers.unigram import write_unigram

FILL = "people walk along here and there and look at things that stand about in town"  # 15 tokens
LONG = f"A red bus. {FILL} {FILL} then three dogs. {FILL} {FILL} {FILL}, at last a wooden door."
TEXTS = (
    LONG,
    "Two cats, RED and blue.",
    "a house",
    f"{FILL} {FILL} {FILL} {FILL} {FILL} {FILL} and a small lamp",
)


def token_number(item, text):
    start = next(i for i, (a, b) in enumerate(zip(text, item.text, strict=False)) if a != b)
    start = text.rfind(" ", 0, start) + 1
    return len(clip_tokenizer().encode([text[:start]])[0]) - 1


def test_one_word_is_replaced_by_another_of_its_kind_where_it_is_said_to_be():
    for seed in range(20):
        for item in alter_details(TEXTS, n=10, seed=seed):
            text = TEXTS[item.index]
            assert item.replacement.lower() in ALTERNATIVES[item.word.lower()]
            assert item.text != text
            assert item.text.count(item.replacement) == text.count(item.replacement) + 1
            assert len(item.text) - len(text) == len(item.replacement) - len(item.word)
            assert item.token == token_number(item, text)
            assert item.place == (
                "early" if item.token <= 20 else "middle" if item.token <= 75 else "late"
            )
    places = {(item.index, item.place) for item in alter_details(TEXTS, n=10, seed=0)}
    assert places == {(0, "early"), (0, "middle"), (0, "late"), (1, "early"), (3, "late")}


def test_case_is_kept_and_what_the_text_already_says_is_no_alternative():
    found = {}
    for seed in range(60):
        for item in alter_details(["Two cats, RED and blue."], n=1, seed=seed):
            found.setdefault(item.word, set()).add(item.replacement)
    assert found.keys() == {"Two", "RED", "blue"}
    assert found["Two"] <= {"Three", "Four", "Five", "Six", "Seven"}
    assert all(colour.isupper() for colour in found["RED"])
    assert "BLUE" not in found["RED"]
    assert "red" not in found["blue"]


def test_only_whole_words_count():
    assert alter_details(["Fred's off-white, bright two-seater, reddish"], n=1, seed=0) == ()
    [item] = alter_details(['a "red" one'], n=1, seed=0)
    assert re.fullmatch(r'a "\w+" one', item.text)


def test_the_list_is_sound():
    for word, others in ALTERNATIVES.items():
        assert others
        assert word not in others
        assert word.islower()
        assert not re.match(r"[aeiou]", word), "'a' would have to become 'an'"
        assert all(other in ALTERNATIVES for other in others)


def test_the_draw_is_seeded_and_bounded():
    texts = [f"a red thing number {i}" for i in range(50)]
    chosen = alter_details(texts, n=7, seed=1)
    assert len(chosen) == len({item.index for item in chosen}) == 7
    assert chosen == alter_details(texts, n=7, seed=1)
    assert chosen != alter_details(texts, n=7, seed=2)
    with pytest.raises(ValueError, match="n must be"):
        alter_details(texts, n=0, seed=0)


class Halting(BagOfTokens):
    """Reads as far as its context and gives the rest the same embedding; does not say so."""

    limit = None

    @property
    def context_length(self):
        return self.limit

    @context_length.setter
    def context_length(self, value):
        pass

    def encode_text(self, texts, /):
        return BagOfTokens(context_length=77).encode_text(texts).double().numpy()


def images_of(texts):
    return BagOfTokens().encode_image([painted(text) for text in texts])


@pytest.mark.parametrize("encoder", [BagOfTokens(context_length=77), Halting()])
def test_details_beyond_the_context_tie_and_count_as_wrong(encoder):
    found = detail_accuracy(encoder, images_of(TEXTS), TEXTS, torch.arange(4))
    assert (found.early.texts, found.middle.texts, found.late.texts) == (2, 1, 2)
    assert (found.early.accuracy, found.middle.accuracy) == (1.0, 1.0)
    assert (found.late.accuracy, found.late.ties) == (0.0, 2)
    assert json.loads(json.dumps(found.to_json()))["late"] == {
        "texts": 2,
        "ties": 2,
        "accuracy": 0.0,
    }


def test_a_long_context_reads_them_all():
    encoder = BagOfTokens(context_length=248)
    texts = encoder.encode_text(TEXTS)
    found = detail_accuracy(
        encoder, images_of(TEXTS), TEXTS, torch.arange(4), text_embeddings=texts
    )
    assert found.late.accuracy == 1.0
    assert found == detail_accuracy(encoder, images_of(TEXTS), TEXTS, torch.arange(4))


def test_accuracy_is_how_often_the_true_text_is_nearer():
    encoder = BagOfTokens(context_length=248)
    texts = [f"a red thing number {i}" for i in range(40)]
    images = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    owners = torch.arange(40).flip(0)
    found = detail_accuracy(encoder, images, texts, owners, n=30)
    cosine = torch.nn.functional.cosine_similarity
    wins = [
        cosine(images[owners[item.index]], encoder.encode_text([texts[item.index]])[0], 0)
        > cosine(images[owners[item.index]], encoder.encode_text([item.text])[0], 0)
        for item in found.altered
    ]
    assert len(wins) == found.early.texts == 30
    assert found.early.accuracy == pytest.approx(sum(wins) / 30)
    assert 0 < found.early.accuracy < 1
    assert found.late.accuracy is None


def test_texts_without_details_are_no_error():
    found = detail_accuracy(BagOfTokens(), images_of(["a house"]), ["a house"], torch.tensor([0]))
    assert found.early.accuracy is found.late.accuracy is None
    assert found.altered == ()


def test_what_an_encoder_reads_is_told_by_its_own_tokens(tmp_path):
    write_unigram(tmp_path)
    own = tokenizer_files(tmp_path).tokenizer
    text = "those water light world a red dog"

    class Noise:
        context_length = 8

        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

        def encode_text(self, texts):
            return torch.randn(len(texts), 4)

        encode_image = encode_text

    def ties(tokenizer):
        found = detail_accuracy(Noise(tokenizer), torch.randn(1, 4), [text], torch.tensor([0]))
        assert found.early.texts == 1
        return found.early.ties

    # CLIP reads the colour in 8 tokens, and this tokenizer does not come to it.
    assert len(clip_tokenizer().encode(["those water light world a red"])[0]) == 8
    assert len(own.encode(["those water light world a"])[0]) > 8
    assert ties(own) == 1
    assert ties(None) == 0
    assert ties(clip_tokenizer()) == 0
    assert ties(object()) == 0, "something of another library, which is not asked"
