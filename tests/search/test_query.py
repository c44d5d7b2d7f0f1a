"""Searching, against comparing everything with everything."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("lancedb")

from longclip.errors import EncoderError, FilterError, SearchError
from longclip.model import load, save
from longclip.model.stretch import stretch
from longclip.search.database.schema import id_of
from longclip.search.database.vector_index import ensure_index
from longclip.search.query.distinct_images import SPARE_ROWS
from longclip.search.query.open import open_searcher
from longclip.search.query.query import Query
from longclip.search.query.searcher import NANO, NEGATIVE_SHARE, QueryVectors, Searcher
from longclip.text.tokenizer import TruncationWarning, clip_tokenizer
from tests.helpers.databases import MODEL, database, row, vectors
from tests.helpers.models import small_clip

ROWS = [row(f"/photos/{i:02d}.jpg", vector) for i, vector in enumerate(vectors(60))]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    return Searcher(database(tmp_path_factory.mktemp("query"), ROWS), MODEL)


def encode(text: str) -> np.ndarray:
    return MODEL.encode_text([text], normalize=True)[0].numpy()


def names(found) -> list[str]:
    return [hit.facts.name for hit in found.hits]


def by_cosine(direction: np.ndarray, rows=ROWS) -> list[str]:
    stored = [r.vector.astype(np.float16).astype(np.float32) for r in rows]
    cosines = [direction @ v / np.linalg.norm(v) for v in stored]
    order = sorted(range(len(rows)), key=lambda i: -cosines[i])
    return [rows[i].facts.name for i in order]


def test_texts_find_what_comparing_with_everything_finds(searcher):
    found = searcher.search(Query("a boat", count=7))
    assert names(found) == by_cosine(encode("a boat"))[:7]
    [first, *_] = found.hits
    [own] = [r.vector for r in ROWS if r.facts.uri == first.facts.uri]
    assert first.similarity == pytest.approx(float(own @ encode("a boat")), abs=1e-3)
    assert (found.total, found.exact, found.pieces, found.tokens) == (60, True, 1, 4)
    assert found.context_length == 77


def test_a_negative_text_takes_its_share_away(searcher):
    direction = encode("a boat") - NEGATIVE_SHARE * (encode("people") + encode("rain"))
    found = searcher.search(Query("a boat", without=("people", " ", "rain"), count=20))
    assert names(found) == by_cosine(direction)[:20]
    only = searcher.search(Query(without=("people",), count=60))
    assert names(only) == by_cosine(-encode("people"))


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_a_picture_and_a_text_share_the_direction(searcher, share):
    image = Image.new("RGB", (40, 32), (200, 30, 60))
    [seen] = MODEL.encode_image(image, normalize=True).numpy()
    query = Query("a boat", image=image, text_share=share, count=20)
    direction = share * encode("a boat") + (1 - share) * seen
    assert names(searcher.search(query)) == by_cosine(direction)[:20]
    if share == 0:
        assert names(searcher.search(Query(image=image, count=20))) == by_cosine(seen)[:20]


def test_more_like_a_stored_image_leaves_that_one_out(tmp_path):
    copy = row("/other/03.jpg", ROWS[3].vector, content=ROWS[3].facts.uri)
    searcher = Searcher(database(tmp_path, [*ROWS, copy]), MODEL)
    found = searcher.search(Query(like=ROWS[3].facts.id, count=60))
    assert names(found) == by_cosine(ROWS[3].vector)[1:]


def test_copies_are_shown_once_and_do_not_take_the_place_of_others(tmp_path):
    best, second, *_ = order = by_cosine(encode("a boat"))
    [original] = [r for r in ROWS if r.facts.name == best]
    uris = [f"/copies/{i:03d}.jpg" for i in range(3 * SPARE_ROWS)]
    copies = [row(uri, original.vector, content=original.facts.uri) for uri in uris]
    searcher = Searcher(database(tmp_path, [*ROWS, *copies]), MODEL)
    found = searcher.search(Query("a boat", count=2))
    assert [found.hits[0].facts.uri, *found.hits[0].also] == [*uris, original.facts.uri]
    assert found.hits[1].facts.name == second
    assert names(searcher.search(Query("a boat", count=99)))[1:] == order[1:]


def test_equally_similar_images_come_in_the_order_of_their_names(tmp_path):
    rows = [row(f"/{name}.jpg", [1] * 24) for name in np.random.default_rng(0).permutation(100)]
    searcher = Searcher(database(tmp_path, rows), MODEL)
    found = searcher.search(Query("a boat", count=5))
    assert [hit.facts.uri for hit in found.hits] == sorted(r.facts.uri for r in rows)[:5]


def test_a_long_text_is_read_in_pieces_and_says_so(searcher):
    sentence = "A red boat lies beside the old lighthouse at the end of the bay."
    text = " ".join([sentence] * 12 + ["The sun sets."])
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        found = searcher.search(Query(text, without=(text,)))
    assert found.pieces == 3
    assert found.tokens == len(clip_tokenizer().encode([text])[0])
    note, negative, *_ = found.notes
    assert f"The text has {found.tokens} tokens, and the model reads 77" in note
    assert "3 pieces" in note
    assert "A negative text has" in negative
    pieces = [" ".join([sentence] * 5)] * 2 + [" ".join([sentence] * 2 + ["The sun sets."])]
    weights = [len(clip_tokenizer().encode([piece])[0]) - 2 for piece in pieces]
    direction = sum(w * encode(piece) for w, piece in zip(weights, pieces, strict=True))
    assert names(searcher.search(Query(text, count=20))) == by_cosine(direction)[:20]


def test_all_texts_are_embedded_in_one_call_by_whoever_is_asked_to(searcher):
    query = Query("A boat. A house. A boat.", without=("rain", "a long one. " * 60))
    reading = searcher.read(query)
    texts = reading.texts
    found = searcher.answer(reading, QueryVectors(7 * MODEL.encode_text(texts).numpy()))
    assert len(set(texts)) == len(texts)
    assert {"A boat. A house. A boat.", "A boat.", "A house.", "rain"} < set(texts)
    assert max(map(len, clip_tokenizer().encode(texts))) <= 77
    assert names(found) == names(searcher.search(query))


def test_each_sentence_is_compared_with_a_sample_of_the_images(searcher):
    found = searcher.search(Query("A boat. A house.", count=3))
    assert found.sentences == ("A boat.", "A house.")
    for hit in found.hits:
        [own] = [r.vector for r in ROWS if r.facts.uri == hit.facts.uri]
        for z, sentence in zip(hit.sentences, found.sentences, strict=True):
            usual = np.array([r.vector @ encode(sentence) for r in ROWS])
            expected = (own @ encode(sentence) - usual.mean()) / usual.std()
            assert z == pytest.approx(expected, abs=0.02)
    assert found.notes == ()
    without = searcher.search(Query("A boat. A house.", score_sentences=False))
    assert (without.sentences, without.hits[0].sentences) == ((), ())


def test_the_sample_follows_the_database(tmp_path):
    store = database(tmp_path, ROWS[:5])
    searcher = Searcher(store, MODEL)
    [note] = searcher.search(Query("a boat")).notes
    assert "only 5 images" in note
    store.put(ROWS)
    assert searcher.search(Query("a boat")).notes == ()


def test_filters(searcher):
    found = searcher.search(Query("a boat", where="name < '03'"))
    assert sorted(names(found)) == ["00.jpg", "01.jpg", "02.jpg"]
    assert found.total == 3
    nothing = searcher.search(Query("A boat. A house.", where="width > 9"))
    assert (nothing.hits, nothing.total) == ((), 0)
    with pytest.raises(FilterError, match="'size > 9' cannot be read"):
        searcher.search(Query("a boat", where="size > 9"))


def test_an_empty_database_finds_nothing(tmp_path):
    found = Searcher(database(tmp_path, []), MODEL).search(Query("A boat. A house."))
    assert (found.hits, found.total) == ((), 0)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(" ", without=("",)), "nothing to search for: give a text, a picture"),
        (Query("a", count=0), "count is 0"),
        (Query("a", count=1.5), "count is 1.5; ask for"),
        (Query("a", without="people"), r"`without` is a text; give a list of texts: \['people'\]"),
        (Query("a", like="\ud800"), "the id `like` holds half a character"),
        (Query("a", text_share=1.5), "--text-share is 1.5; it goes from 0 to 1"),
        (Query("a" * 15_000, without=("b" * 5_001,)), "20,001 characters together; .* to 20,000"),
        (Query(like=id_of("gone")), "there is no image .* was it deleted"),
        (Query(like="x", image=Image.new("RGB", (9, 9))), "give one of them"),
    ],
)
def test_what_cannot_be_asked(searcher, query, message):
    with pytest.raises(SearchError, match=message):
        searcher.search(query)


def test_a_query_that_takes_itself_away(searcher):
    searcher.search(Query("a dog", without=("a dog",) * 3))
    with pytest.raises(SearchError, match="cancel out; change the text"):
        searcher.search(Query("a dog", without=("a dog",) * 4))


def test_a_text_tower_that_gives_no_numbers_is_no_empty_answer(searcher):
    broken = small_clip()
    with torch.no_grad():
        broken.text_model.final_layer_norm.weight[0] = float("nan")
    with pytest.raises(EncoderError, match=r"this model gives .* not finite"):
        Searcher(searcher.store, broken).search(Query("a boat"))


def test_an_answer_is_json(searcher):
    found = searcher.search(Query("A boat. A house.", count=2))
    read = json.loads(json.dumps(found.to_json()))
    assert [hit["uri"] for hit in read["hits"]] == [hit.facts.uri for hit in found.hits]
    assert read["hits"][0]["id"] == found.hits[0].facts.id
    assert read["hits"][0]["sentences"] == list(found.hits[0].sentences)
    assert set(read["seconds"]) == {"embedding", "searching", "explaining"}


def test_a_database_opens_with_the_model_it_names_and_no_other(tmp_path):
    place, path, other = (str(tmp_path / name) for name in ("db", "model", "other"))
    save(MODEL, path)
    save(small_clip(seed=1), other)
    database(tmp_path / "db", ROWS, name=path)
    opened = open_searcher(place)
    assert names(opened.search(Query("a boat", count=20))) == by_cosine(encode("a boat"))[:20]
    with pytest.raises(SearchError, match=f"indexed with {path}, and {other} is another model"):
        open_searcher(place, other)
    (tmp_path / "file.json").write_text("[]")
    with pytest.raises(SearchError, match=r"file\.json is a file, and a database is a folder"):
        open_searcher(str(tmp_path / "file.json"))
    with pytest.raises(SearchError, match="holds no database; make one: longclip index"):
        open_searcher(str(tmp_path / "nothing"))


def test_a_model_that_has_changed_under_its_name_is_told_from_another(tmp_path):
    place, path = str(tmp_path / "db"), str(tmp_path / "model")
    save(small_clip(seed=1), path)
    database(tmp_path / "db", ROWS, name=path)
    with pytest.raises(SearchError, match=f"indexed with {path}, which has changed since.*rebuild"):
        open_searcher(place)


def test_a_model_that_has_moved_is_asked_for(tmp_path):
    store = database(tmp_path / "db", ROWS, name="models/gone")
    with pytest.raises(SearchError, match=r"models/gone, which cannot be opened.* with --model"):
        open_searcher(store.place)
    save(MODEL, tmp_path / "here")
    assert open_searcher(store.place, str(tmp_path / "here")).store.place == store.place


MANY = [row(f"/photos/{i:03d}.jpg", vector) for i, vector in enumerate(vectors(600))]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    store = database(tmp_path_factory.mktemp("large"), MANY)
    assert ensure_index(store, MODEL, exact_below=100)
    return store


@pytest.fixture
def indexed(large, monkeypatch):
    """A searcher with a search index, and how the store is asked."""
    monkeypatch.setattr("longclip.search.query.searcher.EXACT_BELOW", 100)
    asked = []
    real = large.nearest

    def nearest(*args, **options):
        asked.append(options.get("probes") or options["exact"])
        return real(*args, **options)

    monkeypatch.setattr(large, "nearest", nearest)
    return Searcher(large, MODEL), asked


def test_an_index_is_used_as_it_was_measured(indexed):
    searcher, asked = indexed
    found = searcher.search(Query("a boat", count=20))
    assert not found.exact
    assert asked == [searcher.store.quality().probes]
    assert names(found) == by_cosine(encode("a boat"), MANY)[:20]


def test_an_index_is_left_aside_where_it_would_miss_images(indexed):
    searcher, asked = indexed
    assert searcher.search(replace(Query("a boat"), exact=True)).exact
    few = searcher.search(Query("a boat", where="name < '050'", count=20))
    assert few.exact
    assert names(few) == by_cosine(encode("a boat"), MANY[:50])[:20]
    assert asked == [True, True]


def test_where_an_index_finds_too_few_everything_is_compared(indexed, monkeypatch):
    searcher, _ = indexed
    real = searcher.store.nearest

    def few(*args, **options):
        return real(*args, **options)[: None if options.get("exact") else 3]

    monkeypatch.setattr(searcher.store, "nearest", few)
    found = searcher.search(Query("a boat", count=20))
    assert found.exact
    assert names(found) == by_cosine(encode("a boat"), MANY)[:20]


def test_what_nano_finds_comes_with_a_note_on_what_it_knows(tmp_path):
    for number, model in enumerate((load("nano"), stretch(load("nano"), 100))):
        place = tmp_path / str(number)
        known = row("/a.jpg", np.ones(model.embedding_dim))
        store = database(place, [known], model, "some name")
        assert Searcher(store, model).search(Query("a boat")).notes[-1] == NANO
    store = database(tmp_path / "other", [row("/a.jpg", vectors(1)[0])])
    assert NANO not in Searcher(store, MODEL).search(Query("a boat")).notes
