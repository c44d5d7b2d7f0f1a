"""The index for large tables, made for small ones here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb")

from longclip.search.database import vector_index
from longclip.search.database.schema import About, IndexQuality
from longclip.search.database.store import Store
from longclip.search.database.vector_index import ensure_index
from tests.helpers.databases import MODEL, database, row, vectors

COUNT = 600


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "_TEST_QUERIES", 8)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = vectors(COUNT)
    return database(tmp_path, [row(f"/p/{i}.jpg", v) for i, v in enumerate(found)])


def test_small_tables_have_none(store: Store) -> None:
    assert ensure_index(store, MODEL) is None
    assert store.table.list_indices() == []


def test_it_is_made_measured_and_used(store: Store) -> None:
    told: list[tuple[object, ...]] = []
    quality = ensure_index(store, MODEL, lambda *words: told.append(words), exact_below=COUNT)
    assert quality is not None
    assert (quality.kind, quality.rows, quality.trained) == ("IVF_RQ", COUNT, COUNT)
    assert min(quality.recall_images, quality.recall_texts) >= vector_index.MIN_RECALL
    assert told[-1] == (vector_index.STAGE, 2, 2)
    assert "it finds 100.0% for images" in str(replace(quality, recall_images=1.0))
    columns = {column for index in store.table.list_indices() for column in index.columns}
    assert columns == {"vector", "uri", "id", "sha256", "source"}
    again = Store.open(store.place)
    assert again.quality() == quality
    # The result is that of an exact search here.
    for query in vectors(5, 3):
        exact = [hit.facts.uri for hit in again.nearest(query, 10, exact=True)]
        assert [hit.facts.uri for hit in again.nearest(query, 10)] == exact


def test_recall_is_the_share_of_what_an_exact_search_finds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that leaves out the best half of what there is must be told so."""
    nearest = Store.nearest

    def poor(self: Store, query: object, count: int, **options: object) -> object:
        return nearest(self, query, 3 * count // 2, exact=True)[count // 2 :]  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "nearest", poor)
    quality = ensure_index(store, MODEL, exact_below=COUNT)
    assert quality is not None
    assert quality.recall_images == quality.recall_texts == 0.5
    assert (quality.probes, quality.refine) == vector_index._SETTINGS_TRIED[-1]


def test_equal_images_may_stand_for_each_other(tmp_path: Path) -> None:
    """Of 30 copies any 10 will do."""
    found = np.repeat(vectors(10), 30, axis=0)
    store = database(tmp_path, [row(f"/p/{i}.jpg", v, "same") for i, v in enumerate(found)])
    quality = ensure_index(store, MODEL, exact_below=300)
    assert quality is not None
    assert quality.recall_images == 1


def test_growth(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure_index(store, MODEL, exact_below=COUNT)
    made: list[str] = []
    monkeypatch.setattr(vector_index, "_create", lambda store, column: made.append(column))
    assert ensure_index(store, MODEL, exact_below=COUNT) == first
    store.put([row(f"/q/{i}.jpg", v) for i, v in enumerate(vectors(COUNT, 1))])
    store.compact()
    second = ensure_index(store, MODEL, exact_below=COUNT)
    assert isinstance(second, IndexQuality)
    assert (second.rows, second.trained) == (2 * COUNT, COUNT)
    assert made == []
    store.put([row(f"/r/{i}.jpg", v) for i, v in enumerate(vectors(3 * COUNT, 2))])
    third = ensure_index(store, MODEL, exact_below=COUNT)
    assert isinstance(third, IndexQuality)
    assert (third.rows, third.trained, made) == (5 * COUNT, 5 * COUNT, ["vector"])


def test_new_rows_are_found_before_and_after_they_join_the_index(store: Store) -> None:
    ensure_index(store, MODEL, exact_below=COUNT)
    new = row("/new.jpg", vectors(1, 77)[0])
    store.put([new])
    assert store.nearest(new.vector, 1)[0].facts.uri == "/new.jpg"
    store.compact()
    assert store.nearest(new.vector, 1)[0].facts.uri == "/new.jpg"
    assert len(store.nearest(new.vector, 9, where="uri LIKE '/p/1%'")) == 9
    store.delete(["/new.jpg"])
    assert store.nearest(new.vector, 1)[0].facts.uri != "/new.jpg"


def test_a_narrow_filter_finds_all_that_pass_it(tmp_path: Path) -> None:
    """Its images lie in partitions that the query is far from."""
    near = vectors(1)[0]
    rows = [row(f"/p/{i}.jpg", near + 0.1 * v) for i, v in enumerate(vectors(900, 1))]
    rows += [row(f"/far/{i}.jpg", -near + 0.1 * v) for i, v in enumerate(vectors(40, 2))]
    store = database(tmp_path, rows)
    from lancedb.index import IvfSq

    store.table.create_index("vector", config=IvfSq(distance_type="cosine", num_partitions=16))
    store.keep_quality(IndexQuality("IVF_SQ", 940, 940, 1, 1, 0.5, 0.5, 1.0))
    assert len(store.nearest(near, 40, where="folder = '/far'")) == 40


def test_an_index_of_the_former_kind_is_used_until_it_has_to_be_made_anew(store: Store) -> None:
    from lancedb.index import IvfSq

    store.table.create_index("vector", config=IvfSq(distance_type="cosine"))
    kept = IndexQuality("IVF_SQ", COUNT, COUNT, 10, 5, 1.0, 1.0, 1.0)
    store.keep_quality(kept)
    assert ensure_index(store, MODEL, exact_below=COUNT) == kept
    for query in vectors(5, 3):
        exact = [hit.facts.uri for hit in store.nearest(query, 10, exact=True)]
        assert [hit.facts.uri for hit in store.nearest(query, 10)] == exact
    store.put([row(f"/q/{i}.jpg", v) for i, v in enumerate(vectors(COUNT, 1))])
    larger = ensure_index(store, MODEL, exact_below=COUNT)
    assert larger is not None
    assert (larger.kind, larger.rows, larger.trained) == ("IVF_SQ", 2 * COUNT, COUNT)
    assert kind_of_index(store) == "IvfSq"
    store.put([row(f"/r/{i}.jpg", v) for i, v in enumerate(vectors(3 * COUNT, 2))])
    anew = ensure_index(store, MODEL, exact_below=COUNT)
    assert anew is not None
    assert (anew.kind, anew.trained) == ("IVF_RQ", 5 * COUNT)
    assert kind_of_index(store) == "IvfRq"


def kind_of_index(store: Store) -> str:
    [kind] = {index.index_type for index in store.table.list_indices() if "vector" in index.columns}
    return str(kind)


def test_a_width_that_cannot_be_turned_has_the_former_kind(tmp_path: Path) -> None:
    random = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    store = Store.create(str(tmp_path), About("made up", "", 20, 77))
    store.put([row(f"/p/{i}.jpg", v) for i, v in enumerate(random)])
    vector_index._create(store, "vector")
    assert kind_of_index(store) == vector_index._kind(store).replace("IVF_SQ", "IvfSq")
    nearest = store.nearest(random[5], 1, probes=10, refine=5)
    assert [hit.facts.uri for hit in nearest] == ["/p/5.jpg"]
