import json

import pytest

from longclip.data.captions import Captions
from longclip.data.collection import LabelSet
from longclip.evaluation import EvaluateConfig, evaluate, long_texts, short_texts
from tests.helpers.encoders import BagOfTokens, PaintedTexts

PICTURES = ("a red car", "a green tree", "two blue boats on a lake", "an old house")


def captioned(pictures=PICTURES):
    return tuple(Captions(short=(p or "gone", f"{p} again")) for p in pictures)


def test_a_collection_is_measured_in_everything_it_has():
    labels = LabelSet("things", ("car", "tree", "boats", "house"), (0, 1, 2, 3))
    collection = PaintedTexts(PICTURES, captioned(), (labels,))
    result = evaluate(BagOfTokens(), collection, name="fake", templates={"things": ["a {}"]})
    assert (result.name, result.collection, result.images) == ("fake", "painted/test", 4)
    assert result.short
    assert result.long
    assert (result.short.recall.images, result.short.recall.texts) == (4, 8)
    assert (result.long.recall.images, result.long.recall.texts) == (4, 4)
    assert result.short.recall.text_to_image[1] == 1.0
    assert result.long.recall.image_to_text[1] == 1.0
    assert result.zero_shot["things"].accuracy == 1.0
    assert result.long.truncated == 0
    data = json.loads(json.dumps(result.to_json()))
    assert data["long"]["texts"] == 4
    assert data["context_length"] == 77


def test_what_a_collection_lacks_is_not_made_up():
    result = evaluate(BagOfTokens(), PaintedTexts(PICTURES), name="fake")
    assert result.long is None
    assert result.short is None
    assert result.zero_shot == {}

    texts = (Captions(), Captions(), *(Captions(long=(p,)) for p in PICTURES[2:]))
    result = evaluate(BagOfTokens(), PaintedTexts(PICTURES, texts), name="fake")
    assert result.short is None
    assert result.long
    assert (result.images, result.long.recall.images, result.long.recall.texts) == (4, 2, 2)
    assert result.long.recall.text_to_image[1] == 1.0


def test_truncated_texts_are_counted_at_the_context_of_the_encoder():
    texts = tuple(Captions(long=("word " * n,)) for n in (5, 6, 7, 8))
    result = evaluate(BagOfTokens(context_length=8), PaintedTexts(PICTURES, texts), name="fake")
    assert result.long
    assert result.long.truncated == 2
    assert result.context_length == 8


def test_texts_are_not_counted_by_other_tokens_than_the_encoders():
    encoder = BagOfTokens(context_length=8)
    encoder.tokenizer = None
    texts = tuple(Captions(long=("word " * n,)) for n in (5, 6, 7, 8))
    result = evaluate(encoder, PaintedTexts(PICTURES, texts), name="fake")
    assert result.long
    assert result.long.truncated is None


def test_bad_images_leave_with_their_texts_and_labels():
    pictures = ("a red car", None, "two blue boats", "an old house")
    labels = LabelSet("things", ("car", "boats", "house"), (0, 0, 1, 2))
    collection = PaintedTexts(pictures, captioned(pictures), (labels,))
    encoder = BagOfTokens()
    result = evaluate(
        encoder,
        collection,
        name="fake",
        templates={"things": ["{}"]},
        config=EvaluateConfig(batch_size=2, max_bad_fraction=0.25),
    )
    assert [(bad.index, bad.reason) for bad in result.bad_images] == [(1, "1.png is broken")]
    assert result.images == 3
    assert result.short
    assert result.short.recall.texts == 6
    assert result.short.recall.text_to_image[1] == 1.0
    assert result.zero_shot["things"].images == 3
    assert result.zero_shot["things"].accuracy == 1.0
    assert not any("gone" in str(text) for text in encoder.texts_seen)

    with pytest.raises(ValueError, match=r"1 of 4 images.*1\.png is broken.*--max-bad-fraction"):
        evaluate(encoder, collection, name="fake", config=EvaluateConfig(max_bad_fraction=0.2))


def test_progress_runs_from_nothing_to_everything():
    calls = []
    labels = LabelSet("things", ("car", "tree", "boats", "house"), (0, 1, 2, 3))
    evaluate(
        BagOfTokens(),
        PaintedTexts(PICTURES, captioned(), (labels,)),
        name="fake",
        templates={"things": ["a {}", "the {}"]},
        config=EvaluateConfig(batch_size=3),
        on_progress=lambda *call: calls.append(call),
    )
    assert calls == [
        ("painted/test: images", 0, 4),
        ("painted/test: images", 3, 4),
        ("painted/test: images", 4, 4),
        ("painted/test: long texts", 0, 4),
        ("painted/test: long texts", 4, 4),
        ("painted/test: short texts", 0, 8),
        ("painted/test: short texts", 8, 8),
        ("things: prompts", 0, 8),
        ("things: prompts", 8, 8),
    ]


def test_mistakes_are_named():
    labels = LabelSet("things", ("car", "tree"), (0, 1))
    with pytest.raises(ValueError, match="no label set 'thing'"):
        evaluate(
            BagOfTokens(),
            PaintedTexts(PICTURES, (), (labels,)),
            name="fake",
            templates={"thing": ["{}"]},
        )
    with pytest.raises(ValueError, match="2 targets"):
        evaluate(BagOfTokens(), PaintedTexts(PICTURES, (), (labels,)), name="fake")
    with pytest.raises(ValueError, match="no images"):
        evaluate(BagOfTokens(), PaintedTexts(()), name="fake")


@pytest.mark.parametrize(
    ("captions", "long"),
    [
        (Captions(short=("One.",)), ()),
        (Captions(short=("One.", "Two.")), ("One. Two.",)),
        (Captions(short=("One.", "Two."), long=("A", "B")), ("A", "B")),
        (Captions(), ()),
    ],
)
def test_long_texts_are_descriptions_or_joined_captions(captions, long):
    assert long_texts(captions) == long
    assert short_texts(captions) == captions.short
