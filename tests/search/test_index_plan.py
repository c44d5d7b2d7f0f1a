import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lancedb")

from longclip.errors import SearchError
from longclip.search.indexing.index_plan import IndexPlan, list_all, make_plan
from longclip.search.sources.file_sources import FolderSource
from longclip.search.sources.image_source import Item, Listing, Unlisted
from longclip.search.sources.tar_source import TarSource
from tests.helpers.databases import database, row, vectors


class Shelf:
    """A source that holds what it is told."""

    def __init__(
        self, name: str, items: Sequence[Item] | None, unlisted: Sequence[Unlisted] = ()
    ) -> None:
        self.name = name
        self._items = items
        self._unlisted = unlisted

    def list(self) -> Listing:
        if self._items is None:
            raise SearchError(f"{self.name} is not connected")
        return Listing(self._items, self._unlisted)

    def read(self, item: Item) -> bytes:
        raise AssertionError("planning reads nothing")

    def caption(self, item: Item) -> str | None:
        raise AssertionError("planning reads nothing")


def plan(tmp_path: Path, *shelves: Shelf) -> IndexPlan:
    known = [
        row(f"/{s}/{i}.jpg", vectors(1)[0], source=f"/{s}", bytes=100 + i, mtime_ns=1000 + i)
        for s in "ab"
        for i in range(4)
    ]
    return make_plan(list_all(shelves), database(tmp_path, known))


def items(shelf: str, *numbers: int) -> list[Item]:
    return [Item(f"/{shelf}/{i}.jpg", 100 + i, 1000 + i) for i in numbers]


def test_new_changed_unchanged_and_gone(tmp_path: Path) -> None:
    there = items("a", 0, 1, 2, 9)
    there[1] = replace(there[1], bytes=7)
    there[2] = replace(there[2], mtime_ns=7)
    found = plan(tmp_path, Shelf("/a", there))
    assert [(t.item.uri, t.before is not None) for t in found.tasks] == [
        ("/a/1.jpg", True),
        ("/a/2.jpg", True),
        ("/a/9.jpg", False),
    ]
    assert (found.found, found.unchanged) == (4, 1)
    assert set(found.gone) == {"/a/3.jpg"}
    assert found.unusable == found.notes == []


def test_where_the_size_is_not_known_the_time_tells(tmp_path: Path) -> None:
    rows = [Item("/a/0.jpg", None, 1000), Item("/a/1.jpg", None, 7), *items("a", 2, 3)]
    assert [t.item.uri for t in plan(tmp_path, Shelf("/a", rows)).tasks] == ["/a/1.jpg"]


def test_an_unplugged_disk_empties_nothing(tmp_path: Path) -> None:
    found = plan(tmp_path, Shelf("/a", None), Shelf("/b", items("b", 0)))
    assert set(found.gone) == {"/b/1.jpg", "/b/2.jpg", "/b/3.jpg"}
    assert [place.uri for place in found.unread] == ["/a"]
    [note] = [note for note in found.notes if note.startswith("/a could not be read")]
    assert note.endswith("what is known of it is kept. If it is gone for good: --forget it")


def test_nor_does_an_empty_mount_point(tmp_path: Path) -> None:
    found = plan(tmp_path, Shelf("/a", []))
    assert found.gone == {}
    [note] = found.notes
    assert "/a holds no image any more, and the database 4" in note
    assert "--forget" in note


def test_nothing_at_all_can_be_listed(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="/a is not connected; /c is not connected"):
        plan(tmp_path, Shelf("/a", None), Shelf("/c", None))


def test_parts_that_cannot_be_looked_into_are_kept(tmp_path: Path) -> None:
    found = plan(tmp_path, Shelf("/a", items("a", 0), [Unlisted("/a/2", "no permission")]))
    assert set(found.gone) == {"/a/1.jpg", "/a/3.jpg"}
    assert [(place.uri, place.reason) for place in found.unread] == [("/a/2", "no permission")]
    assert found.unusable == []


def test_a_part_that_could_hold_any_of_them(tmp_path: Path) -> None:
    unlisted = Unlisted("", "damaged", "/list.jsonl")
    found = plan(tmp_path, Shelf("/a", items("a", 0), [unlisted]))
    assert found.gone == {}
    assert [(place.uri, place.reason) for place in found.unread] == [("/list.jsonl", "damaged")]


def test_shards_that_some_other_file_has_come_to(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "0.tar").write_bytes(b"not looked into")
    uris = [f"{folder}/0.tar::a/b.jpg", f"{folder}/1.tar::c.jpg", f"{folder}/old.jpg"]
    known = [row(uri, vectors(1)[0], source=str(folder)) for uri in uris]
    store = database(tmp_path / "db", known)
    (folder / "preview.jpg").write_bytes(b"image")
    found = make_plan(list_all([FolderSource(folder)]), store)
    assert set(found.gone) == set(uris[1:])
    [note] = found.notes
    assert "the 1 images known from them are kept" in note
    assert f"'{folder}/*.tar'" in note


def test_an_image_that_has_left_its_shard(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    known = [row(f"{path}::{name}.jpg", vectors(1)[0], source=str(path)) for name in "ab"]
    found = make_plan(list_all([TarSource(str(path))]), database(tmp_path / "db", known))
    assert set(found.gone) == {f"{path}::b.jpg"}
    assert found.notes == []


def test_images_that_another_source_has_brought_in(tmp_path: Path) -> None:
    """`/` holds what is known from `/a` and `/b`; they are not taken from them."""
    found = plan(tmp_path, Shelf("/", [*items("a", 0, 1), *items("b", 0), *items("c", 0)]))
    assert [t.item.uri for t in found.tasks] == ["/c/0.jpg"]
    assert found.gone == {}


def test_the_same_image_through_two_sources_counts_once(tmp_path: Path) -> None:
    found = plan(tmp_path, Shelf("/a", items("a", 0, 8)), Shelf("/x", items("a", 0, 8)))
    assert found.found == 2
    [task] = found.tasks
    assert task.source.name == "/a"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    found = plan(tmp_path, Shelf("/a", [Item("/a/\udcff.jpg", 1, 1), *items("a", 0, 1, 2, 3)]))
    assert found.tasks == []
    [bad] = found.unusable
    assert bad.uri.isascii()
    assert "UTF-8" in bad.reason
    found = plan(tmp_path / "b", Shelf("/a", items("a", 0), [Unlisted("/a/\udcff/", "away")]))
    assert [(place.uri.isascii(), place.reason) for place in found.unread] == [(True, "away")]
