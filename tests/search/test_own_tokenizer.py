"""Texts of a model with a vocabulary of its own, as search and evaluation count and divide them."""

from pathlib import Path

import numpy as np
import pytest

import longclip
from longclip.encoders.model_encoder import as_encoder
from longclip.evaluation import evaluate
from longclip.search.query.pieces import count_tokens, split_text
from longclip.search.service.search_api import cut_at, token_cuts
from longclip.text.spans import word_spans
from longclip.text.tokenizer import clip_tokenizer
from tests.helpers.cli import Run, run, write_walls  # noqa: F401 (a fixture)
from tests.helpers.other_towers import write_model

pytest.importorskip("transformers")

TEXT = "a red dog runs over the green grass. two small cats sleep in an old house. " * 12


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model("siglip", tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def model(directory: Path) -> longclip.CLIP:
    return longclip.load(directory)


def test_pieces_fit_the_model_by_its_own_tokens(model: longclip.CLIP) -> None:
    pieces = split_text(TEXT, model.context_length, model.tokenizer)
    encoded = model.tokenizer.encode(list(pieces.texts))
    assert [len(ids) - 1 for ids in encoded] == list(pieces.tokens)  # one special token: the end
    assert max(map(len, encoded)) <= model.context_length
    assert " ".join(pieces.texts).split() == TEXT.split()
    assert len(pieces.texts) != len(split_text(TEXT, model.context_length).texts)


def test_the_counter_of_the_page_counts_the_models_tokens(model: longclip.CLIP) -> None:
    counted = token_cuts(TEXT, model.context_length, model.tokenizer)
    assert counted.count == len(model.tokenizer.encode([TEXT])[0])
    # 77 of its tokens are nothing that a CLIP reads.
    assert counted.cut_77 is None
    assert counted.cut == cut_at(TEXT, model.context_length, model.tokenizer)
    read = TEXT[: counted.cut]
    assert count_tokens(read, model.tokenizer) <= model.context_length
    assert count_tokens(f"{read} {TEXT[counted.cut :].split()[0]}", model.tokenizer) > (
        model.context_length
    )


def test_words_are_counted_for_each_tokenizer_by_itself(model: longclip.CLIP) -> None:
    words = len(TEXT.split())
    for tokenizer in (clip_tokenizer(), model.tokenizer, clip_tokenizer()):
        own = len(tokenizer.encode([TEXT])[0]) - tokenizer.special_tokens
        assert word_spans(TEXT, tokenizer).tokens(words) == own


def test_evaluation_counts_texts_that_the_model_cuts(model: longclip.CLIP, tmp_path: Path) -> None:
    walls = write_walls(tmp_path / "walls", 6)
    found = evaluate(model, longclip.data.open_collection(walls), name="siglip").to_json()
    collection = longclip.data.open_collection(walls)
    texts = [text for i in range(6) for text in collection.captions(i).long]
    cut = sum(len(ids) > model.context_length for ids in model.tokenizer.encode(texts))
    assert found["long"]["truncated_texts"] == cut
    assert cut


def test_tokenize_shows_a_models_tokens(
    directory: Path,
    model: longclip.CLIP,
    run: Run,  # noqa: F811
) -> None:
    outcome = run("tokenize", "A red dog, two cats!", "--model", directory, "--json")
    assert outcome.json["ids"] == model.tokenizer.encode(["A red dog, two cats!"])[0]
    assert outcome.json["context_length"] == model.context_length


def test_a_query_is_embedded_as_the_model_embeds_it(model: longclip.CLIP) -> None:
    from longclip.search.service.embedder import Embedder

    embedder = Embedder(as_encoder(model))
    rows = embedder([embedder.tokens("two small cats"), embedder.tokens("a dog")])
    expected = model.encode_text(["two small cats", "a dog"], normalize=True).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-6)
