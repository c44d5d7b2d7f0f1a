"""What is kept of shards, and how sources are told apart from them."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lancedb")

from longclip.search.database.schema import About
from longclip.search.database.shard_table import IndexedShard, ShardTable
from longclip.search.database.store import Store
from longclip.search.indexing.cluster.worker_stages import chunks
from longclip.search.indexing.index_plan import ImageTask, split_shards, vanished
from longclip.search.sources.image_source import Item, Unusable
from longclip.search.sources.open_image_source import open_image_source
from tests.helpers.databases import MODEL, database, row, vectors
from tests.helpers.image_folders import jpeg_bytes, photos, tar_file

ONE = IndexedShard(
    "/a/1.tar", "/a/*.tar", "9 1", 3, (Unusable("/a/1.tar::x.jpg", 'a "b"', lasting=True),)
)
TWO = IndexedShard("/a/2.tar", "/a/*.tar", "9 2", 2)
OTHER = IndexedShard("/b.parquet", "/b.parquet", "7 7", 1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    uris = ["/a/1.tar::0.jpg", "/a/1.tar::1.jpg", "/a/1.tar::2.jpg", "/a/2.tar::0.jpg", "/a/10.jpg"]
    rows = [
        row(uri, vector, source="/a/*.tar") for uri, vector in zip(uris, vectors(5), strict=True)
    ]
    made = database(tmp_path / "db", rows)
    ShardTable(made.place).put([ONE, TWO, OTHER])
    return made


def done(store: Store) -> set[str]:
    table = ShardTable(store.place)
    return {*table.indexed("/a/*.tar"), *table.indexed("/b.parquet")}


def test_they_are_kept(store: Store) -> None:
    table = ShardTable(store.place)
    assert table.indexed("/a/*.tar") == {ONE.place: ONE, TWO.place: TWO}
    changed = IndexedShard(TWO.place, TWO.source, "10 3", 4)
    table.put([changed])
    table.put([])
    table.tidy()
    assert ShardTable(store.place).indexed("/a/*.tar") == {ONE.place: ONE, TWO.place: changed}
    table.drop([ONE.place, "/none"])
    assert done(store) == {TWO.place, OTHER.place}
    assert Store.exists(store.place)


def test_a_database_without_any(tmp_path: Path) -> None:
    table = ShardTable(database(tmp_path / "db", []).place)
    assert table.indexed("x") == {}
    table.drop(["x"])
    table.drop_source("x")
    table.drop_all()
    table.tidy()


def test_a_shard_is_not_whole_once_an_image_of_it_is_deleted(store: Store) -> None:
    store.delete(["/a/10.jpg"])
    assert len(done(store)) == 3
    store.delete(["/a/1.tar::1.jpg"])
    assert done(store) == {TWO.place, OTHER.place}


def test_they_go_with_their_source_and_with_a_rebuild(store: Store) -> None:
    store.forget("/a/*.tar")
    assert done(store) == {OTHER.place}
    Store.create(store.place, About.of(MODEL, "small"), replace=True)
    assert done(store) == set()


def test_forgetting_a_source_forgets_shards_that_another_one_has_noted(store: Store) -> None:
    """Rows keep the source that brought them in first, shards the last that held them."""
    ShardTable(store.place).put([replace(ONE, source="/a/?.tar")])
    store.forget("/a/*.tar")
    assert ShardTable(store.place).indexed("/a/?.tar") == {}


def test_what_is_known_in_a_shard_is_of_no_other_one(store: Store) -> None:
    assert set(store.indexed_in("/a/1.tar")) == {f"/a/1.tar::{i}.jpg" for i in range(3)}
    assert set(store.indexed_in("/a/1")) == set()


def test_what_was_in_shards_that_are_not_there_any_more(store: Store) -> None:
    table = ShardTable(store.place)
    known = table.indexed("/a/*.tar")
    assert vanished(store, "/a/*.tar", {ONE.place, TWO.place}, known) == {}
    assert set(vanished(store, "/a/*.tar", {ONE.place}, known)) == {"/a/2.tar::0.jpg"}
    store.put([row("/a/x::y.jpg", vectors(1, 7)[0], source="/a/*.tar")])  # a file of that name
    # Without a record they are found by their rows.
    gone = vanished(store, "/a/*.tar", {TWO.place}, {TWO.place: TWO})
    assert set(gone) == {f"/a/1.tar::{i}.jpg" for i in range(3)}


def test_sources_are_split(tmp_path: Path) -> None:
    folder = photos(tmp_path / "mixed", 2)
    one = tar_file(folder / "1.tar", {"0.jpg": jpeg_bytes(0)})
    two = tar_file(folder / "2.tar", {"0.jpg": jpeg_bytes(1)})
    pattern, alone = (
        open_image_source(folder / "*"),
        open_image_source(photos(tmp_path / "photos", 1)),
    )
    again, missing = open_image_source(one), open_image_source(two)
    two.unlink()
    found = split_shards([pattern, alone, again, missing])
    assert [source.name for source in found.loose] == [pattern.name, alone.name]
    assert [Path(item.uri).name for item in found.loose[0].list().items] == ["0000.jpg", "0001.jpg"]
    assert [(shard.place, shard.source) for shard in found.shards] == [(str(one), pattern.name)]
    assert {bad.uri for bad in found.missing} == {str(two)}
    assert found.sharded[pattern.name] == {str(one), str(two)}
    about_one = one.stat()
    assert found.shards[0].stamp == f"{about_one.st_size} {about_one.st_mtime_ns}"


def test_chunks_hold_every_task_once(tmp_path: Path) -> None:
    source = open_image_source(tmp_path)
    tasks = [ImageTask(source, Item(str(i), 1, 1), None) for i in range(10)]
    parts = list(chunks(tasks, 4, shard=3))
    assert [len(part.tasks) for part in parts] == [4, 4, 2]
    assert [task for part in parts for task in part.tasks] == tasks
    assert {part.shard for part in parts} == {3}
