"""The service of a model with a tokenizer of its own."""

from collections.abc import Iterator

import numpy as np
import pytest

import longclip
from longclip.encoders.clip_encoder import CLIPEncoder
from longclip.encoders.model_encoder import as_encoder
from longclip.search.query.searcher import Searcher
from longclip.search.service.embedder import Embedder
from longclip.search.service.openai_api import _read_ids
from tests.helpers.other_towers import write_model
from tests.helpers.service import Served, make_database, serving

pytest.importorskip("transformers")

TEXTS = ["a red dog runs", "Two small cats, in an OLD house!"]
LONG = "a red dog runs over the green grass. two small cats sleep in an old house. " * 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> longclip.CLIP:
    return longclip.load(write_model("siglip", tmp_path_factory.mktemp("siglip")))


@pytest.fixture(scope="module")
def served(model: longclip.CLIP, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = make_database(tmp_path_factory.mktemp("database"), model)
    with serving(Searcher(store, model)) as running:
        yield running


def test_texts_and_ids_are_those_of_the_model(served: Served, model: longclip.CLIP) -> None:
    ids = model.tokenizer.encode(TEXTS)
    expected = model.encode_text(TEXTS, normalize=True).numpy()
    with served.client() as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        padded = [row + [model.pad_token_id] * (64 - len(row)) for row in ids]
        for given in (TEXTS, ids, [row[:-1] for row in ids], padded):
            answer = client.post("/v1/embeddings", json={"model": name, "input": given}).json()
            found = np.array([one["embedding"] for one in answer["data"]], np.float32)
            np.testing.assert_allclose(found, expected, atol=1e-5)
            assert answer["usage"]["total_tokens"] == sum(map(len, ids))
        unknown = client.post("/v1/embeddings", json={"model": name, "input": [[49408]]})
        assert unknown.status_code == 400
        message = unknown.json()["error"]["message"]
        assert "token id 49408 at position 0 is not in this model's vocabulary of 49408" in message
        assert "this model's tokenizer" in message


def test_padding_that_is_a_word_too_is_taken_off_only_behind_the_end(
    model: longclip.CLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    [[*inner, end]] = model.tokenizer.encode(["a red dog"])
    last = inner[-1]
    monkeypatch.setattr(CLIPEncoder, "pad_token_id", last)
    for given in (inner, [*inner, end], [*inner, end, last, last]):
        assert _read_ids(Embedder(as_encoder(model)), given, "input") == (*inner, end)


def test_long_texts_are_counted_and_read_in_its_pieces(
    served: Served, model: longclip.CLIP
) -> None:
    count = len(model.tokenizer.encode([LONG])[0])
    with served.client() as client:
        counted = client.post("/v1/tokens", json={"text": LONG}).json()
        found = client.post("/v1/search", json={"text": LONG, "not": ["a house"]}).json()
    assert counted["count"] == found["tokens"] == count
    assert (counted["cut_77"], counted["context_length"]) == (None, 64)
    assert found["pieces"] >= count / 64
    assert f"has {count} tokens, and the model reads 64" in found["notes"][0]


def test_about_says_that_tokens_are_the_models_own(served: Served) -> None:
    with served.client() as client:
        assert client.get("/v1/about").json()["own_tokenizer"] is True


def test_a_text_costs_what_the_model_computes(model: longclip.CLIP) -> None:
    embedder = Embedder(as_encoder(model))
    assert embedder.cost(embedder.tokens("a dog")) == 64
