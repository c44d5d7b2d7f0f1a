"""What every engine's encoder of a model of ours gives."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.encoders.model_encoder import as_encoder, unit
from longclip.errors import UsageError
from longclip.model.identity import model_digest
from longclip.text.tokenizer import TruncationWarning
from tests.helpers.models import small_clip

TEXTS = ["a red boat", "", "A house. " * 12]


def test_a_clip_is_an_encoder_with_the_same_embeddings():
    model = small_clip()
    encoder = as_encoder(model)
    assert isinstance(encoder, CLIPEncoder)
    assert as_encoder(encoder) is encoder
    assert (encoder.engine, encoder.digest) == ("torch, float32", model_digest(model))
    assert (encoder.context_length, encoder.vocab_size, encoder.embedding_dim) == (77, 49408, 24)
    ids = model.tokenizer.encode(TEXTS)
    np.testing.assert_array_equal(encoder.embed_ids(ids), model.encode_text(TEXTS).numpy())
    picture = Image.effect_noise((50, 40), 90).convert("RGB")
    expected = model.encode_image(picture).numpy()
    np.testing.assert_allclose(encoder.encode_image([picture]), expected, atol=1e-6)
    pixels = np.stack([encoder.prepare(picture)] * 2)
    np.testing.assert_allclose(encoder.embed_pixels(pixels), expected.repeat(2, 0), atol=1e-6)
    with pytest.warns(TruncationWarning, match="1 of 1 texts"):
        assert encoder.encode_text(["a boat " * 99]).shape == (1, 24)
    assert encoder.embed_ids([]).shape == (0, 24)


def test_batches_at_a_time_share_the_threads(monkeypatch):
    threads = torch.get_num_threads
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 4)
        encoder = CLIPEncoder(small_clip())
    assert encoder.processors == 4

    def shares():
        for batches in (1, 2, 3, 9):
            encoder.share_processors(batches)
            yield threads()

    before = threads()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: list(shares())).result() == [4, 2, 1, 1]
    assert threads() == before


def test_what_is_no_model_is_refused():
    with pytest.raises(UsageError, match=r"takes a CLIP of longclip, not 'nano'; longclip\.load"):
        as_encoder("nano")


def test_rows_of_length_one():
    rows = np.random.default_rng(0).standard_normal((4, 7)).astype(np.float32)
    expected = torch.nn.functional.normalize(torch.from_numpy(rows), dim=-1)
    np.testing.assert_allclose(unit(rows), expected, rtol=1e-6)
    assert unit(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]
