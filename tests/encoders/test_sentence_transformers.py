"""Models of sentence-transformers against the library's own calls."""

import numpy as np
import pytest
import torch
from PIL import Image

import longclip
from longclip.encoders import open_encoder
from longclip.encoders.encoder import tokenizer_of
from longclip.errors import EncoderError
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.models import small_clip

library = pytest.importorskip("sentence_transformers")

TEXTS = ["a red boat", "", "two dogs " * 200]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model") / "clip"
    longclip.save(longclip.stretch(small_clip()), directory)
    return directory


def test_embeddings_are_those_of_the_librarys_own_call(directory):
    encoder = open_encoder(f"sentence-transformers:{directory}")
    theirs = library.SentenceTransformer(str(directory), device="cpu")
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))] * 2
    for found, inputs in (
        (encoder.encode_text(TEXTS), TEXTS),
        (encoder.encode_image(pictures), pictures),
    ):
        expected = torch.from_numpy(theirs.encode(inputs, show_progress_bar=False))
        torch.testing.assert_close(found.cpu(), expected)
        assert found.shape[1] == 24
    assert encoder.context_length == 248
    assert encoder.device == torch.device("cpu")


def test_what_is_cut_is_told_by_the_models_tokens(directory):
    encoder = open_encoder(f"sentence-transformers:{directory}")
    own = tokenizer_of(encoder)
    assert own.encode(TEXTS) == clip_tokenizer().encode(TEXTS)
    [cut] = own.encode(TEXTS[2:], context_length=248)
    assert [cut] == clip_tokenizer().encode(TEXTS[2:], context_length=248)

    encoder._model.prompts, encoder._model.default_prompt_name = {"query": "find "}, "query"
    assert tokenizer_of(encoder).encode(["a boat"]) == clip_tokenizer().encode(["find a boat"])


def test_a_fingerprint_is_that_of_the_model(directory, tmp_path):
    longclip.save(longclip.stretch(small_clip(seed=1)), tmp_path / "other")
    names = (directory, directory, tmp_path / "other")
    prints = [open_encoder(f"sentence-transformers:{name}").fingerprint for name in names]
    assert prints[0] == prints[1] != prints[2]


def test_wrong_names(directory, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"nowhere cannot be opened: .*; name a directory"):
        open_encoder(f"sentence-transformers:{tmp_path / 'nowhere'}")
    # texts only
    text = library.SentenceTransformer(
        modules=[library.sentence_transformer.modules.BoW(vocab=["a", "boat"])], device="cpu"
    )
    text.save(str(tmp_path / "text"))
    with pytest.raises(EncoderError, match="name a model that embeds texts and pictures"):
        open_encoder(f"sentence-transformers:{tmp_path / 'text'}")
