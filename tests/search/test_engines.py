"""Databases made with one engine and searched with another, here and at the command line."""

from pathlib import Path

import numpy as np
import pytest

from longclip import load, save
from longclip.errors import SearchError
from longclip.search.database.store import Store
from longclip.search.indexing.index import index
from longclip.search.query.open import open_searcher
from longclip.search.query.query import Query
from longclip.search.query.searcher import Searcher
from tests.helpers.cli import Run, run  # noqa: F401 (a fixture)
from tests.helpers.image_folders import MODEL, jpeg_bytes, photos
from tests.helpers.models import small_clip
from tests.helpers.service import serving

ENGINES = ("torch", "onnx", "openvino")
QUERY = Query("A red boat. It rains, and nobody is there.", without=("a dog",), count=9)


@pytest.fixture
def places(tmp_path: Path, onnx_model: Path) -> dict[str, str]:
    """Where each engine finds the model."""
    save(small_clip(), tmp_path / "weights")
    return {"torch": str(tmp_path / "weights")} | dict.fromkeys(ENGINES[1:], str(onnx_model))


@pytest.mark.parametrize("maker", ENGINES)
def test_every_engine_finds_the_same(maker: str, places: dict[str, str], tmp_path: Path) -> None:
    encoder = load(places[maker], engine=maker)  # type: ignore[call-overload]
    report = index(
        [photos(tmp_path / "photos", 20)], tmp_path / "db", encoder, model_name=places[maker]
    )
    assert report.added == 20
    db = str(tmp_path / "db")
    store = Store.open(db)
    for row in store.rows("uri", [str(each) for each in sorted((tmp_path / "photos").iterdir())]):
        expected = MODEL.encode_image(row.facts.uri, normalize=True)[0].detach().numpy()
        np.testing.assert_allclose(row.vector, expected, atol=3e-4)  # kept as float16
    expected = Searcher(store, small_clip()).search(QUERY)
    assert len(expected.hits) == 9
    for engine in ENGINES:
        found = open_searcher(db, places[engine], engine=engine).search(QUERY)  # type: ignore[arg-type]
        assert [hit.facts.uri for hit in found.hits] == [hit.facts.uri for hit in expected.hits]
        assert found.tokens == expected.tokens
        for hit, same in zip(found.hits, expected.hits, strict=True):
            assert hit.similarity == pytest.approx(same.similarity, abs=1e-5)
            assert hit.sentences == pytest.approx(same.sentences, abs=1e-3)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_the_service_answers_alike(engine: str, places: dict[str, str], tmp_path: Path) -> None:
    db = tmp_path / "db"
    index([photos(tmp_path / "photos", 6)], db, MODEL, model_name=places["torch"])
    request = {"text": QUERY.text, "k": 4}
    answers = []
    for kind in ("torch", engine):
        searcher = open_searcher(str(db), places[kind], engine=kind)  # type: ignore[arg-type]
        with serving(searcher) as served, served.client() as client:
            found = client.post("/v1/search", json=request).json()
            model = client.get("/v1/models").json()["data"][0]["id"]
            body = {"model": model, "input": ["a boat", "a house"]}
            embedded = client.post("/v1/embeddings", json=body).json()["data"]
        answers.append(([hit["uri"] for hit in found["hits"]], found["tokens"], embedded))
    (uris, tokens, vectors), (same_uris, same_tokens, same_vectors) = answers
    assert (uris, tokens) == (same_uris, same_tokens)
    for one, same in zip(vectors, same_vectors, strict=True):
        np.testing.assert_allclose(one["embedding"], same["embedding"], atol=1e-5)


def test_at_the_command_line(
    run: Run,  # noqa: F811
    places: dict[str, str],
    int8_model: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(jpeg_bytes(number))
    db = ["--db", tmp_path / "db"]
    outcome = run("index", tmp_path / "photos", *db, "--model", places["onnx"])
    assert "3 images found: 3 added" in outcome.out, outcome.err
    assert "has ONNX files and no weights: computed by --engine onnx" in outcome.err
    for words in (
        ["--engine", "onnx"],
        ["--model", places["torch"]],
        ["--model", str(int8_model), "--engine", "openvino", "--dtype", "int8"],
    ):
        found = run("search", "a boat", *db, "--json", *words)
        assert len(found.json["hits"]) == 3, found.err
        assert "note:" not in found.err
    said = run("search", "a boat", *db, "--model", int8_model, "--engine", "onnx").err
    assert "has no ONNX files of float32: computed with int8" in said
    for command in ("search", "index"):
        words = [] if command == "index" else ["a boat"]
        wrong = run(command, *words, *db, "--model", places["torch"], "--engine", "onnx")
        assert wrong.code == 1
        assert "has no ONNX files of both towers; write them with: longclip convert" in wrong.err
    same = run("eval", places["torch"], f"onnx:{places['onnx']}", "--data", "scenes/test-short")
    assert same.code == 0, same.err


def test_a_database_of_weights_alone_says_what_to_write(
    places: dict[str, str], tmp_path: Path
) -> None:
    db = tmp_path / "db"
    index([photos(tmp_path / "photos", 2)], db, MODEL, model_name=places["torch"])
    with pytest.raises(
        SearchError, match=r"was indexed with .*longclip convert .*Say with --model"
    ):
        open_searcher(str(db), engine="openvino")


def test_another_model_is_refused(places: dict[str, str], tmp_path: Path) -> None:
    db = tmp_path / "db"
    index([photos(tmp_path / "photos", 2)], db, small_clip(seed=1), model_name="other")
    with pytest.raises(SearchError, match="is another model"):
        open_searcher(str(db), places["onnx"], engine="onnx")
