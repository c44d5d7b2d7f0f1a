"""Arrays of other programs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import LabelSet
from longclip.encoders import open_encoder
from longclip.errors import EncoderError
from longclip.evaluation import export_inputs
from longclip.evaluation.config import EvaluateConfig
from longclip.evaluation.embed import embed_images, embed_texts
from longclip.evaluation.measure import evaluate
from tests.helpers.encoders import BagOfTokens, PaintedTexts

PICTURES = ("a red car", "a green tree", None, "two blue boats", "an old house")
COLLECTION = PaintedTexts(
    PICTURES,
    tuple(Captions(short=(f"{p}", f"{p}\nagain\u2028")) for p in PICTURES),
    (LabelSet("things", ("car", "tree"), (0, 1, 0, 0, 1), ("a {}", "the {}")),),
)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def embed_outside(folder, dtype=np.float32):
    """What another program does with the lists."""
    encoder = BagOfTokens()
    pictures = [Image.open(folder / line["file"]) for line in lines(folder / "images.jsonl")]
    texts = [line["text"] for line in lines(folder / "texts.jsonl")]
    np.save(folder / "images.npy", encoder.encode_image(pictures).numpy().astype(dtype))
    np.save(folder / "texts.npy", encoder.encode_text(texts).numpy().astype(dtype))


@pytest.fixture
def directory(tmp_path):
    found = export_inputs(COLLECTION, tmp_path)
    assert (found.directory, found.images) == (tmp_path / "painted-test", 4)
    assert found.bad == ("2.png is broken",)
    assert found.texts == len(lines(found.directory / "texts.jsonl"))
    embed_outside(found.directory)
    return tmp_path


def test_arrays_give_the_results_of_the_model_that_made_them(directory):
    for spec in (f"npy:{directory}", f"npy:{directory / 'painted-test'}"):
        encoder = open_encoder(spec)
        assert encoder.context_length is None
        found = embed_images(encoder, COLLECTION, max_bad_fraction=1, batch_size=3)
        expected = embed_images(BagOfTokens(), COLLECTION, max_bad_fraction=1)
        assert torch.equal(found.embeddings, expected.embeddings)
        assert found.indices == expected.indices
        assert found.bad == expected.bad


def test_every_text_that_an_evaluation_asks_is_listed(directory):
    asked = BagOfTokens()
    config = EvaluateConfig(max_bad_fraction=1, probes=False)
    evaluate(asked, COLLECTION, name="model", config=config)
    listed = {line["text"] for line in lines(directory / "painted-test" / "texts.jsonl")}
    assert listed >= set(asked.texts_seen)
    assert "the tree" in listed
    embed_texts(open_encoder(f"npy:{directory}"), sorted(listed))


def test_more_texts_can_be_listed(tmp_path):
    folder = export_inputs(COLLECTION, tmp_path, texts=["one more", "a car"]).directory
    assert [line["text"] for line in lines(folder / "texts.jsonl")].count("a car") == 1
    assert {"text": "one more"} in lines(folder / "texts.jsonl")


def test_several_collections_in_half_precision(directory):
    other = PaintedTexts(("a dog", "a red car"), name="other")
    folder = export_inputs(other, directory, texts=["a dog"]).directory
    embed_outside(folder, np.float16)
    encoder = open_encoder(f"npy:{directory}")
    found = embed_images(encoder, PaintedTexts(("a dog", "a green tree"))).embeddings
    expected = BagOfTokens().encode_image([other.image(0), COLLECTION.image(1)])
    assert torch.equal(found[0], expected[0].half().float())
    assert torch.equal(found[1], expected[1])


def test_what_is_not_there_is_named(directory):
    encoder = open_encoder(f"npy:{directory}")
    with pytest.raises(EncoderError, match=r"no embedding of 1 of 2 texts \(first: 'something"):
        embed_texts(encoder, ["a red car", "something else"])
    with pytest.raises(
        EncoderError, match=r"no embeddings of pictures of this collection; export its inputs"
    ):
        embed_images(encoder, PaintedTexts(("a red car", "a dog")))


def test_arrays_that_may_have_taken_long_are_not_overwritten(directory):
    with pytest.raises(FileExistsError, match="perhaps with arrays"):
        export_inputs(COLLECTION, directory)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, r"texts\.npy is missing; write one row for each line of texts\.jsonl"),
        (np.zeros((3, 16)), r"texts\.npy holds float64 \[3, 16\], and texts\.jsonl lists 19"),
        (np.zeros((19, 16), int), r"holds int64 \[19, 16\]"),
        (np.zeros(19), r"holds float64 \[19\]"),
        (np.zeros((19, 5)), r"rows are 5 and 16 numbers wide"),
        (np.array([[object()]], dtype=object), r"texts\.npy cannot be read .*without objects"),
    ],
)
def test_wrong_arrays_are_named(array, message, directory):
    path = directory / "painted-test" / "texts.npy"
    assert len(lines(path.with_suffix(".jsonl"))) == 19
    path.unlink()
    if array is not None:
        np.save(path, array, allow_pickle=True)
    with pytest.raises(EncoderError, match=message):
        open_encoder(f"npy:{directory}")


def test_wrong_directories_and_lists(directory, tmp_path_factory):
    with pytest.raises(EncoderError, match=r"holds images\.jsonl; write it with .*export_inputs"):
        open_encoder(f"npy:{tmp_path_factory.mktemp('empty')}")
    (directory / "painted-test" / "texts.jsonl").write_text('{"text": ')
    with pytest.raises(EncoderError, match=r"texts\.jsonl cannot be read"):
        open_encoder(f"npy:{directory}")
