"""The table, against plain Python and NumPy."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lancedb")

from longclip.errors import SearchError
from longclip.model.identity import model_digest
from longclip.search.database import lance
from longclip.search.database.schema import About, Facts, IndexQuality, check_same_model
from longclip.search.database.store import Store
from tests.helpers.databases import MODEL, WIDTH, database, row, vectors
from tests.helpers.models import small_clip

ROWS = [row(f"/photos/{i:02d}.jpg", vector) for i, vector in enumerate(vectors(40))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return database(tmp_path_factory.mktemp("store"), ROWS)


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    facts = Facts(
        uri='s3://bucket/it\'s "ä" 100%_\n<b>.jpg',
        source="s3://bucket",
        folder="s3://bucket",
        name="x",
        sha256="ab" * 32,
        bytes=2**40,
        mtime_ns=2**62,
        width=4000,
        height=3000,
        format="JPEG",
        taken=datetime(2024, 5, 31, 12, 30, 11),
        latitude=-33.9,
        longitude=18.4,
        camera="Nikon",
        caption="A boat.",
    )
    vector = vectors(1)[0] / np.linalg.norm(vectors(1)[0])
    given = replace(row("x", vectors(1)[0]), facts=facts, vector=vector)
    store = database(tmp_path, [given])
    [found] = store.rows("uri", [facts.uri])
    assert found.facts == facts == store.facts(facts.id)
    assert found.thumbnail == given.thumbnail == store.thumbnail(facts.id)
    assert np.abs(found.vector - vector).max() < 5e-4
    assert store.nearest(vector, 1)[0].facts == facts
    store.delete([facts.uri, "never there"])
    assert len(store) == 0
    assert store.facts(facts.id) is store.thumbnail(facts.id) is None


def test_putting_again_replaces(tmp_path: Path) -> None:
    store = database(tmp_path, ROWS)
    changed = [replace(r, facts=replace(r.facts, caption="new")) for r in ROWS[:7]]
    store.put([*changed, row("/photos/more.jpg", vectors(1, 1)[0])])
    store.put([])
    assert len(store) == 41
    assert store.count("caption = 'new'") == 7


def test_rows_by_any_key_and_more_than_a_few(store: Store) -> None:
    for column in ("uri", "id", "sha256"):
        keys = [getattr(r.facts, column) for r in ROWS]
        assert {r.facts for r in store.rows(column, [*keys, "none"])} == {r.facts for r in ROWS}
    assert store.rows("id", []) == []


def test_more_keys_than_one_condition_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance, "_MAX_VALUES", 7)
    uris = [r.facts.uri for r in ROWS]
    hashes = [r.facts.sha256 for r in ROWS]
    assert set(store.indexed_at([*uris, "none"])) == set(uris)
    assert set(store.originals(hashes)) == store.hashes_among(hashes) == set(hashes)
    assert len(store.rows("uri", uris)) == len(ROWS)


def test_a_hit_has_the_vector_of_its_image(store: Store) -> None:
    of = {r.facts.uri: r.vector for r in ROWS}
    for hit in store.nearest(ROWS[3].vector, 9):
        assert np.abs(hit.vector - of[hit.facts.uri]).max() < 5e-4


def test_sample_is_some_rows_each_once(store: Store, tmp_path: Path) -> None:
    sample = store.sample(10)
    every = np.stack([r.vector for r in ROWS])
    which = (sample @ every.T).argmax(axis=1)
    assert len(set(which)) == 10
    assert np.abs(sample - every[which]).max() < 5e-4
    assert np.array_equal(sample, store.sample(10))
    assert store.sample(999).shape == (40, WIDTH)
    assert database(tmp_path, []).sample(3).shape == (0, WIDTH)


@pytest.mark.parametrize("exact", [True, False])
def test_nearest_are_those_of_numpy(store: Store, exact: bool) -> None:
    query = 3 * vectors(1, 9)[0]
    cosines = np.stack([r.vector for r in ROWS]) @ query / np.linalg.norm(query)
    best = np.argsort(-cosines)[:12]
    hits = store.nearest(query, 12, exact=exact)
    assert [hit.facts.uri for hit in hits] == [ROWS[i].facts.uri for i in best]
    assert np.allclose([hit.similarity for hit in hits], cosines[best], atol=1e-3)
    few = store.nearest(query, 99, where="uri < '/photos/05.jpg'")
    assert len(few) == 5 == store.count("uri < '/photos/05.jpg'")


def test_known_and_originals(tmp_path: Path) -> None:
    rows = [
        row("/a/1.jpg", vectors(1)[0], "same", source="/a"),
        row("/a/2.jpg", vectors(1)[0], "same", source="/a"),
        row("/b's/3.jpg", vectors(1)[0], "other", source="/b's"),
    ]
    store = database(tmp_path, rows)
    assert set(store.indexed_from("/a")) == {"/a/1.jpg", "/a/2.jpg"}
    assert store.indexed_from("/a", "/b's").keys() == {r.facts.uri for r in rows}
    assert store.indexed_from() == store.indexed_at([]) == store.indexed_from("/nowhere") == {}
    [(uri, known)] = store.indexed_at(["/b's/3.jpg", "/none"]).items()
    assert (uri, known.source, known.sha256) == ("/b's/3.jpg", "/b's", rows[2].facts.sha256)
    found = store.originals([rows[0].facts.sha256, "0" * 64])
    assert found.keys() == {rows[0].facts.sha256}
    assert found[rows[0].facts.sha256].facts in (rows[0].facts, rows[1].facts)


def test_what_is_kept_in_the_table_outlives_compaction(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path), About.of(MODEL, "small"), sources=["/a"])
    store.remember(["/b", "/a", "/b"])
    quality = IndexQuality("IVF_SQ", 8, 8, 3, 2, 1.0, 0.99, 0.5)
    store.keep_quality(quality)
    for r in ROWS[:8]:
        store.put([r])
    store.compact()
    store = Store.open(str(tmp_path))
    assert store.sources() == ["/a", "/b"]
    assert store.quality() == quality
    assert store.about == About.of(MODEL, "small")
    assert len(store.nearest(vectors(1)[0], 20)) == 8
    store.put([row("/b/1.jpg", vectors(1)[0], source="/b")])
    store.forget("/b")
    assert (store.sources(), len(store)) == (["/a"], 8)


def test_a_reader_sees_what_was_written_when_it_refreshes(tmp_path: Path) -> None:
    writer = database(tmp_path, ROWS[:2])
    reader = Store.open(str(tmp_path))
    writer.put(ROWS[2:5])
    writer.compact()
    assert len(reader.nearest(ROWS[0].vector, 9)) in (2, 5)
    reader.refresh()
    assert len(reader) == len(reader.nearest(ROWS[0].vector, 9)) == 5


def test_opening_what_is_no_database(tmp_path: Path) -> None:
    assert not Store.exists(str(tmp_path / "none"))
    assert not Store.exists(str(tmp_path))
    with pytest.raises(SearchError, match="make one: longclip index FOLDER --db"):
        Store.open(str(tmp_path))
    import lancedb
    import pyarrow as pa

    lancedb.connect(str(tmp_path)).create_table("images", pa.table({"a": [1]}))
    with pytest.raises(SearchError, match="not made; name another --db"):
        Store.open(str(tmp_path))


def test_a_format_of_the_future(tmp_path: Path) -> None:
    with suppress(SearchError):
        Store.create(str(tmp_path), About("m", "d", 4, 77, format=99))
    with pytest.raises(SearchError, match="another version of longclip"):
        Store.open(str(tmp_path))


def test_replacing(tmp_path: Path) -> None:
    database(tmp_path, ROWS)
    store = Store.create(str(tmp_path), About("m", "d", 4, 77), replace=True)
    assert (len(store), store.about.width) == (0, 4)
    assert Store.open(str(tmp_path)).about.model == "m"


def test_another_model_is_told_apart_and_another_precision_is_not() -> None:
    import copy

    import torch

    model, other = small_clip(), small_clip(seed=1)
    half = copy.deepcopy(model).to(torch.bfloat16)
    assert model_digest(model) == model_digest(half) != model_digest(other)
    check_same_model(About.of(model, "one"), About.of(half, "half"), "db")
    with pytest.raises(SearchError, match=r"indexed with one, and other is another .* --rebuild"):
        check_same_model(About.of(model, "one"), About.of(other, "other"), "db")


@given(
    st.builds(
        Facts,
        uri=st.text(),
        source=st.text(),
        folder=st.text(),
        name=st.text(),
        sha256=st.text(),
        bytes=st.integers(0, 2**62),
        taken=st.none() | st.datetimes(),
        latitude=st.none() | st.floats(-90, 90),
        caption=st.none() | st.text(),
    )
)
def test_facts_survive_packing(facts: Facts) -> None:
    assert Facts.unpack(facts.pack()) == facts
