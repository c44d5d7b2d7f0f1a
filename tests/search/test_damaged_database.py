"""Databases of which a file is damaged: what is said, and how they are mended."""

import random
import shutil
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("lancedb")

from lancedb.index import IvfFlat

from longclip.errors import SearchError, UnreadableError
from longclip.search.database.origin import read_origin
from longclip.search.database.reader import Reader, status
from longclip.search.database.schema import Facts, IndexQuality
from longclip.search.database.store import Store
from longclip.search.indexing.index import forget, index
from longclip.search.query.distinct_images import distinct_images
from tests.helpers.databases import MODEL, database, row, vectors

IMAGES = 3
KINDS = ("missing", "zeros", "half", "flipped")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of two versions and more, and the folder that it was made from."""
    place = tmp_path_factory.mktemp("sound")
    (place / "photos").mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (9, 9), (80 * number, 0, 99)).save(place / "photos" / f"{number}.png")
        index([place / "photos"], place / "db", MODEL, model_name="small")
    return place


def copy(sound: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(sound / "db", place)
    return place


def damage(file: Path, kind: str) -> None:
    content = bytearray(file.read_bytes())
    if kind == "missing":
        file.unlink()
        return
    if kind == "flipped":
        for place in random.Random(0).sample(range(len(content)), min(20, len(content))):
            content[place] ^= 255
    changed = {"empty": b"", "zeros": bytes(len(content)), "half": content[: len(content) // 2]}
    file.write_bytes(changed.get(kind, content))


def find_all(place: Path) -> int:
    return len(Reader.open(str(place)).nearest(vectors(1)[0], 9))


def check_damage(sound: Path, place: Path, file: Path, kind: str) -> None:
    damage(copy(sound, place) / file, kind)
    said = []
    for use in (
        lambda: find_all(place),
        lambda: index([], place, MODEL, model_name="small"),
        lambda: forget(str(sound / "photos"), place),
    ):
        try:
            use()
        except SearchError as error:
            said.append(str(error))
    for words in said:
        assert f"longclip index --db {place} --rebuild" in words, file
        if kind in ("zeros", "half"):
            assert str(place / file) in words
    damage(copy(sound, place) / file, kind)
    report = index([], place, MODEL, model_name="small", rebuild=True)
    assert report.total == IMAGES == find_all(place), file
    assert index([], place, MODEL, model_name="small").embedded == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_and_a_rebuild_mends_it(
    sound: Path, tmp_path: Path, kind: str
) -> None:
    present, *earlier = sorted((sound / "db").glob("images.lance/_versions/*.manifest"))
    data = next((sound / "db").glob("images.lance/data/*.lance"))
    for file in (present, earlier[0], data):
        check_damage(sound, tmp_path / "db", file.relative_to(sound / "db"), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_file_is_damaged_a_rebuild_mends_it(
    sound: Path, tmp_path: Path, kind: str
) -> None:
    for file in sorted(each for each in (sound / "db").rglob("*") if each.is_file()):
        check_damage(sound, tmp_path / "db", file.relative_to(sound / "db"), kind)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_flipped_bit_of_any_file_is_named(sound: Path, tmp_path: Path) -> None:
    names = [each.relative_to(sound / "db") for each in (sound / "db").rglob("*")]
    files = [each for each in names if (sound / "db" / each).is_file() and each.name != ".writer"]
    assert {each.suffix for each in files} == {".json", ".lance", ".manifest", ".txn"}
    place = copy(sound, tmp_path / "db")
    assert status(str(place)).images == IMAGES
    for file in files:
        flip(place / file)
        for use in (
            lambda: status(str(place)),
            lambda: index([], place, MODEL, model_name="small"),
            lambda: forget(str(sound / "photos"), place),
        ):
            with pytest.raises(UnreadableError, match="--rebuild") as raised:
                use()
            assert f"{place / file} is damaged" in str(raised.value)
        flip(place / file)
    assert status(str(place)).images == IMAGES


def test_what_a_killed_process_has_written_is_no_damage(sound: Path, tmp_path: Path) -> None:
    place = copy(sound, tmp_path / "db")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("longclip.search.indexing.index.keep_checksums", lambda *_, **__: None)
        (tmp_path / "more").mkdir()
        Image.new("RGB", (9, 9), "white").save(tmp_path / "more" / "a.png")
        index([tmp_path / "more"], place, MODEL, model_name="small")
    assert status(str(place)).images == IMAGES + 1
    assert index([], place, MODEL, model_name="small").total == IMAGES + 1
    flip(next(place.rglob("latest_version_hint.json")))
    with pytest.raises(UnreadableError, match="hint"):
        status(str(place))


def manifest(place: Path) -> Path:
    return min((place / "images.lance" / "_versions").glob("*.manifest"))


def test_where_the_origin_is_not_noted_the_sources_are_asked_for(
    sound: Path, tmp_path: Path
) -> None:
    place = copy(sound, tmp_path / "db")
    (place / "longclip.json").write_text('{"model": 3, "sources": ["a"]}')
    assert read_origin(str(place)) is None
    damage(manifest(place), "half")
    with pytest.raises(SearchError, match="name all its sources and its model: longclip index"):
        index([], place, MODEL, model_name="small", rebuild=True)
    with pytest.raises(UnreadableError, match=r"is damaged .*--rebuild"):
        index([sound / "photos"], place, MODEL, model_name="small")
    again = index([sound / "photos"], place, MODEL, model_name="small", rebuild=True)
    assert again.total == IMAGES
    assert read_origin(str(place)) is not None


def test_a_rebuild_that_was_killed_without_a_table_goes_on(sound: Path, tmp_path: Path) -> None:
    place = copy(sound, tmp_path / "db")
    (place / ".rebuild").mkdir()
    (place / "images.lance").rename(place / ".rebuild" / "damaged")
    with pytest.raises(SearchError, match="holds no database"):
        index([], place, MODEL, model_name="small")
    assert index([], place, MODEL, model_name="small", rebuild=True).total == IMAGES


def test_a_damaged_database_is_not_rebuilt_from_less_than_it_was_made_of(
    sound: Path, tmp_path: Path
) -> None:
    place = copy(sound, tmp_path / "db")
    kept = Path(str(place), "longclip.json")
    kept.write_text(kept.read_text().replace(str(sound / "photos"), str(tmp_path / "unplugged")))
    damage(manifest(place), "zeros")
    with pytest.raises(SearchError, match="unplugged"):
        index([sound / "photos"], place, MODEL, model_name="small", rebuild=True)


def test_facts_and_notes_of_a_table_that_are_no_json_are_damage(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Facts, "pack", lambda _: '{"uri": ')
        store = database(tmp_path, [row("/a.jpg", vectors(1)[0])])
    for use in (
        lambda: store.nearest(vectors(1)[0], 1),
        lambda: store.rows("uri", ["/a.jpg"]),
        lambda: store.facts(row("/a.jpg", vectors(1)[0]).facts.id),
    ):
        with pytest.raises(UnreadableError, match="--rebuild"):
            use()
    store.table.update_field_metadata({"path": "source", "metadata": {"longclip.sources": "[1"}})
    with pytest.raises(UnreadableError, match="--rebuild"):
        Reader.open(store.place).sources()


def test_without_a_damaged_search_index_all_images_are_compared(tmp_path: Path) -> None:
    rows = [row(f"/{i}.jpg", vector) for i, vector in enumerate(vectors(300))]
    store = database(tmp_path, rows)
    store.table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=2))
    for file in (tmp_path / "images.lance" / "_indices").rglob("*.idx"):
        damage(file, "half")
    reader = Reader.open(store.place)
    with pytest.raises(UnreadableError, match="_indices"):
        reader.nearest(vectors(1)[0], 3)
    measured = IndexQuality("IVF_FLAT", 300, 300, 1, 1, 1.0, 1.0, 1.0)
    found, exact = distinct_images(reader, vectors(1)[0], 3, where=None, total=300, index=measured)
    assert (len(found), exact) == (3, True)


def test_a_damaged_table_of_shards_is_dropped_and_named(sound: Path, tmp_path: Path) -> None:
    place = copy(sound, tmp_path / "db")
    (place / "shards.lance" / "_versions").mkdir(parents=True)
    (place / "shards.lance" / "_versions" / "18446744073709551614.manifest").write_bytes(b"x")
    with pytest.warns(UserWarning, match="table of finished shards is damaged"):
        forget(str(sound / "photos"), place)
    assert not (place / "shards.lance").exists()
    assert Store.open(str(place)).sources() == []
