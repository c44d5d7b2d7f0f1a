"""Models of open_clip against the library's own calls."""

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.encoders import open_encoder
from longclip.encoders.encoder import tokenizer_of
from longclip.encoders.open_clip_encoder import OpenCLIPEncoder
from longclip.errors import EncoderError
from longclip.image.preprocess import Preprocess
from longclip.model.convert import convert
from longclip.text.tokenizer import clip_tokenizer, truncation
from longclip.text.tokenizer_directory import tokenizer_files
from tests.helpers.models import small_clip
from tests.helpers.openclip_library import open_clip
from tests.helpers.unigram import write_unigram

TEXTS = ["a red boat", "", "two dogs " * 200]


@pytest.fixture
def library(monkeypatch):
    """open_clip, with our own transform where there is no torchvision to make one of."""
    library = open_clip()

    def transform(config, is_train, **_):
        assert not is_train
        assert (config.interpolation, config.resize_mode) == ("bicubic", "shortest")
        return Preprocess(config.size[0], tuple(config.mean), tuple(config.std))

    monkeypatch.setattr("open_clip.factory.image_transform_v2", transform)
    return library


@pytest.fixture
def directory(tmp_path):
    model = longclip.stretch(small_clip())
    model.preprocess = Preprocess(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    longclip.save(model, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "openclip", "openclip")
    return tmp_path / "openclip"


@torch.no_grad()
def test_embeddings_are_those_of_the_librarys_own_call(library, directory):
    encoder = open_encoder(f"open_clip:local-dir:{directory}", batch_size=2)
    theirs = library.create_model(f"local-dir:{directory}").eval()
    tokens = library.get_tokenizer(f"local-dir:{directory}")(TEXTS)
    assert encoder.context_length == tokens.shape[1] == 248
    torch.testing.assert_close(encoder.encode_text(TEXTS), theirs.encode_text(tokens))

    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8))] * 2
    pixels = torch.stack([longclip.load(directory).preprocess(picture) for picture in pictures])
    expected = theirs.encode_image(pixels)
    torch.testing.assert_close(encoder.encode_image(pictures), expected)
    prepared = [encoder.prepare(picture) for picture in pictures]
    assert torch.equal(encoder.encode_image(prepared), encoder.encode_image(pictures))
    assert expected.shape[1] == encoder.encode_text(["a"]).shape[1]


def test_what_is_cut_is_told_by_the_models_tokens(library, directory, tmp_path):
    own = tokenizer_of(open_encoder(f"open_clip:local-dir:{directory}"))
    assert own.encode(TEXTS) == clip_tokenizer().encode(TEXTS)
    assert (
        own.encode(TEXTS, context_length=248)[2]
        == clip_tokenizer().encode(TEXTS, context_length=248)[2]
    )

    special = {"eos_token": "</s>", "pad_token": "<pad>"}
    write_unigram(tmp_path, tokenizer_class="PreTrainedTokenizerFast", **special)
    words = library.tokenizer.HFTokenizer(str(tmp_path), context_length=20, clean="lower")
    model = torch.nn.Module()
    own = tokenizer_of(OpenCLIPEncoder(model, words, None, "other", 1))
    texts = ["A red &amp; dog  runs", "green grass " * 20]
    assert own.encode(texts) == tokenizer_files(
        tmp_path, ("repair", "spaces", "lower")
    ).tokenizer.encode(texts)
    assert own.encode(texts, context_length=20) == words(texts).tolist()
    assert truncation(texts, 20, tokenizer=own).texts_cut == 1

    words.tokenizer_mode = "clips"  # adds tokens of its own
    assert tokenizer_of(OpenCLIPEncoder(model, words, None, "other", 1)) is None


def test_architecture_and_weights_from_a_file(library, directory, monkeypatch):
    config = library.factory.get_model_config(f"local-dir:{directory}")
    monkeypatch.setitem(library.factory._MODEL_CONFIGS, "tiny", config)
    weights = directory / "open_clip_model.safetensors"
    named = open_encoder(f"open_clip:tiny/{weights}")
    whole = open_encoder(f"open_clip:local-dir:{directory}")
    assert torch.equal(named.encode_text(TEXTS), whole.encode_text(TEXTS))
    # Their pixels differ: a file of weights does not say mean and deviation.
    assert named.fingerprint != whole.fingerprint
    assert whole.fingerprint == open_encoder(f"open_clip:local-dir:{directory}").fingerprint


def test_half_precision(library, directory):
    encoder = open_encoder(f"open_clip:local-dir:{directory}", dtype=torch.bfloat16)
    text = encoder.encode_text(TEXTS)
    image = encoder.encode_image([Image.new("RGB", (40, 50))])
    assert text.dtype == image.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-32", "write open_clip:ARCHITECTURE/WEIGHTS"),
        ("ViT-B-99/openai", "write open_clip:ARCHITECTURE/WEIGHTS"),
        ("ViT-B-32/nobody", "ViT-B-32/nobody cannot be opened: .*'nobody'"),
        ("local-dir:nowhere", "cannot be opened: .*nowhere"),
    ],
)
def test_wrong_names(name, message, library):
    with pytest.raises(EncoderError, match=message):
        open_encoder(f"open_clip:{name}")
