"""Whole runs of the indexer; what it does, and what it must not do again."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.image_folders import kinds

pytest.importorskip("lancedb")

from longclip.encoders import CLIPEncoder
from longclip.errors import SearchError, UsageError
from longclip.image.decode import decode_image
from longclip.search.database.reader import status
from longclip.search.database.schema import About
from longclip.search.database.store import Store
from longclip.search.indexing import index as index_module
from longclip.search.indexing import outcomes
from longclip.search.indexing.index import forget, index
from longclip.search.query.open import open_searcher
from tests.helpers.image_folders import (
    MODEL,
    jpeg_bytes,
    photo,
    photos,
    rows_of,
    run_index,
    tar_file,
)
from tests.helpers.models import small_clip


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through the model."""
    sizes: list[int] = []
    original = CLIPEncoder.embed_pixels

    def count(encoder: CLIPEncoder, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(pixels))
        return original(encoder, pixels)

    monkeypatch.setattr(CLIPEncoder, "embed_pixels", count)
    return sizes


def check_embeddings(db: Path) -> None:
    """Each row is what the model gives for the file as it is now, its thumbnail shows it."""
    store = Store.open(str(db))
    for row in store.rows("uri", list(rows_of(db))):
        path = Path(row.facts.uri)
        expected = MODEL.encode_image(path, normalize=True)[0].detach().numpy()
        assert np.abs(row.vector - expected).max() < 2e-3
        about = path.stat()
        assert (row.facts.bytes, row.facts.mtime_ns) == (about.st_size, about.st_mtime_ns)
        assert (row.facts.folder, row.facts.name) == (str(path.parent), path.name)
        small = decode_image(row.thumbnail)
        assert small.size == (row.facts.width, row.facts.height)
        assert np.abs(np.asarray(small, int) - np.asarray(decode_image(path), int)).mean() < 50


def test_what_is_in_the_table(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Nikon"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:31 12:30:11"
    folder = tmp_path / "photos"
    photos(folder, 3)
    (folder / "turned.jpg").write_bytes(jpeg_bytes(9, side=400, exif=exif))
    (folder / "turned.txt").write_text("A turned photo.")
    report = run_index(folder, db=tmp_path / "db")
    assert kinds(report) == {"added": 4}
    assert (report.embedded, report.total, report.bad, report.quality) == (4, 4, (), None)
    store = Store.open(str(tmp_path / "db"))
    [row] = store.rows("uri", [f"{folder}/turned.jpg"])
    assert (row.facts.width, row.facts.height) == (400, 408)
    assert (row.facts.camera, row.facts.caption) == ("Nikon", "A turned photo.")
    assert str(row.facts.taken) == "2024-05-31 12:30:11"
    assert (row.facts.source, row.facts.format) == (str(folder), "JPEG")
    assert decode_image(row.thumbnail).size == (251, 256)
    assert store.about.model == "small"
    (folder / "turned.jpg").unlink()
    run_index(folder, db=tmp_path / "db")
    check_embeddings(tmp_path / "db")


def test_a_second_run_embeds_only_what_is_new(tmp_path: Path, embedded: list[int]) -> None:
    folder, db = photos(tmp_path / "photos", 6), tmp_path / "db"
    run_index(folder, db=db)
    assert kinds(run_index(folder, db=db)) == {"unchanged": 6}
    assert sum(embedded) == 6
    photo(folder / "0001.jpg", 101)  # changed
    (folder / "0002.jpg").rename(folder / "moved.jpg")
    (folder / "0003.jpg").unlink()
    shutil.copy(folder / "0004.jpg", folder / "copy.jpg")
    os.utime(folder / "0005.jpg", ns=(1, 1))  # touched
    photo(folder / "new.jpg", 102)
    expected = {
        "added": 2, "changed": 1, "moved": 1, "unchanged": 3, "deleted": 1, "duplicates": 1,
    }  # fmt: skip
    assert kinds(run_index(folder, db=db)) == expected
    assert sum(embedded) == 6 + 2
    check_embeddings(db)
    assert kinds(run_index(folder, db=db)) == {"unchanged": 7}
    assert sum(embedded) == 6 + 2


def test_copies_in_one_run_are_embedded_once(tmp_path: Path, embedded: list[int]) -> None:
    for i in range(30):
        photo(tmp_path / "photos" / f"{i}.jpg", i % 3)
    report = run_index(tmp_path / "photos", db=tmp_path / "db", batch_size=4)
    assert kinds(report) == {"added": 30, "duplicates": 27}
    assert sum(embedded) == 3
    check_embeddings(tmp_path / "db")


def test_contents_that_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is overwritten before its old content is asked for."""
    monkeypatch.setattr(outcomes, "_ROWS_PER_WRITE", 1)
    folder, db = photos(tmp_path / "photos", 5), tmp_path / "db"
    run_index(folder, db=db)
    for i in range(5):
        photo(folder / f"{i:04d}.jpg", (i + 1) % 5 if i else 77)
    photo(folder / "last.jpg", 1)
    assert kinds(run_index(folder, db=db, batch_size=1))["changed"] == 5
    check_embeddings(db)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_to_a_folder(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any changes the table is that of a database made from nothing."""
    monkeypatch.setattr(outcomes, "_ROWS_PER_WRITE", 4)
    draw = random.Random(seed)
    folder, db = photos(tmp_path / "photos", 8), tmp_path / "db"
    run_index(folder, db=db)
    for _ in range(3):
        for _ in range(6):
            path = draw.choice(sorted(folder.iterdir()))
            target = folder / f"{draw.randrange(12):04d}.jpg"
            what = draw.choice(("write", "copy", "rename", "delete", "touch"))
            if what == "write":
                photo(target, draw.randrange(15))
            elif what == "copy" and path != target:
                shutil.copy(path, target)
            elif what == "rename":
                path.rename(target)
            elif what == "delete" and len(list(folder.iterdir())) > 1:
                path.unlink()
            else:
                os.utime(path, ns=(draw.randrange(1 << 60), draw.randrange(1 << 60)))
        kinds(run_index(folder, db=db, batch_size=draw.choice((1, 3, 64))))
        assert rows_of(db).keys() == {str(path) for path in folder.iterdir()}
        check_embeddings(db)


def test_several_sources_and_all_of_them_again(tmp_path: Path) -> None:
    photos(tmp_path / "a", 2)
    photos(tmp_path / "b", 2, first=10)
    db = tmp_path / "db"
    tar = tar_file(tmp_path / "x.tar", {"1.jpg": jpeg_bytes(20), "1.txt": b"Twenty."})
    run_index(tmp_path / "a", db=db)
    table = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [jpeg_bytes(i) for i in (40, 41, 42)]}), table)
    run_index(tmp_path / "b", tar, table, db=db)
    found = status(str(db))
    assert found.images == found.contents == 8
    assert found.sources[str(tmp_path / "a")] == 2
    assert found.disk_bytes
    assert forget(str(table), db) == found.sources[str(table)] == 3
    photo(tmp_path / "a" / "new.jpg", 30)
    (tmp_path / "b" / "0010.jpg").rename(tmp_path / "a" / "moved.jpg")
    assert kinds(run_index(db=db)) == {"added": 1, "moved": 1, "unchanged": 4}
    assert set(status(str(db)).sources) == {str(tmp_path / n) for n in ("a", "b", "x.tar")}
    with pytest.raises(SearchError, match=r"nothing in .* comes from gone, only from "):
        forget("gone", db)


def test_the_database_may_lie_in_the_folder(tmp_path: Path) -> None:
    photos(tmp_path, 2)
    db = tmp_path / "db"
    run_index(tmp_path, db=db)
    photo(db / "stray.jpg", 9)
    assert kinds(run_index(tmp_path, db=db)) == {"unchanged": 2}


def test_keep_deleted(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 3), tmp_path / "db"
    run_index(folder, db=db)
    (folder / "0000.jpg").unlink()
    (folder / "0001.jpg").rename(folder / "other.jpg")
    report = run_index(folder, db=db, keep_deleted=True)
    assert kinds(report) == {"added": 1, "duplicates": 1, "unchanged": 1}
    assert report.total == 4


def test_an_empty_folder_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    report = run_index(tmp_path / "photos", db=tmp_path / "db")
    assert (report.found, report.total, report.bad_fraction) == (0, 0, 0)
    with pytest.raises(SearchError, match="holds no database"):
        run_index(db=tmp_path / "other")
    with pytest.raises(SearchError, match="no such file or folder"):
        run_index(tmp_path / "gone", db=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_folder_of_pictures_is_no_place_for_a_database(tmp_path: Path, rebuild: bool) -> None:
    folder = photos(tmp_path / "photos", 3)
    before = sorted(folder.iterdir())
    with pytest.raises(SearchError, match=r"other files, such as .*: --db .*photos\.db$"):
        run_index(folder, db=folder, rebuild=rebuild)
    assert sorted(folder.iterdir()) == before
    with pytest.raises(SearchError, match="holds no database but other files"):
        open_searcher(str(folder))
    assert run_index(folder, db=folder / "db").total == 3, "in it is another matter"


def test_a_source_that_was_moved_is_told_of_with_the_way_out(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "my photos", 3), tmp_path / "db"
    run_index(folder, db=db)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert run_index(copy, db=db).notes == (), "the other one is still there"
    forget(str(copy), db)
    moved = folder.rename(tmp_path / "moved")
    photo(moved / "new.jpg", 9)
    report = run_index(moved, db=db)
    assert (report.added, report.duplicates, report.total) == (4, 3, 7)
    [note] = report.notes
    assert note.startswith(
        f"3 of 3 images of {folder}, which is not there any more, are in {moved}"
    )
    assert note.endswith(f"longclip index --db {db} --forget '{folder}'")
    assert forget(str(folder), db) == 3


def test_a_source_is_known_however_its_letters_are_written(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "Zu\u0308rich", 2), tmp_path / "db"
    composed = tmp_path / "Z\u00fcrich"
    assert run_index(composed, db=db).added == 2
    assert set(rows_of(db)) == {str(folder / f"000{i}.jpg") for i in (0, 1)}
    assert forget(str(composed), db) == 2


def test_an_unplugged_source(tmp_path: Path) -> None:
    folder, other, db = photos(tmp_path / "disk", 3), photos(tmp_path / "b", 1), tmp_path / "db"
    run_index(folder, other, db=db)
    folder.rename(tmp_path / "away")
    report = run_index(db=db)
    assert (report.deleted, report.total) == (0, 4)
    assert [place.uri for place in report.unread] == [str(folder)]
    folder.mkdir()
    report = run_index(folder, db=db)
    assert (report.deleted, report.total) == (0, 4)
    assert "is its disk connected?" in report.notes[0]
    with pytest.raises(SearchError, match="cannot be read now and would be lost"):
        run_index(other, db=db, rebuild=True)
    assert len(rows_of(db)) == 4


def test_another_model_is_refused_and_rebuilds(tmp_path: Path) -> None:
    folder, other, db = photos(tmp_path / "a", 3), photos(tmp_path / "b", 1), tmp_path / "db"
    run_index(folder, other, db=db)
    new = small_clip(seed=5)
    with pytest.raises(SearchError, match="another model: their embeddings cannot be compared"):
        index([folder], db, new, model_name="new")
    report = index([folder], db, new, model_name="new", rebuild=True)
    assert (report.added, report.total) == (4, 4)
    store = Store.open(str(db))
    assert store.about.model == "new"
    assert set(store.sources()) == {str(folder), str(other)}
    [row] = store.rows("uri", [f"{folder}/0001.jpg"])
    expected = new.encode_image(folder / "0001.jpg", normalize=True)[0].detach().numpy()
    assert np.abs(row.vector - expected).max() < 2e-3


def test_a_rebuild_that_was_stopped_goes_on_without_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, db = photos(tmp_path / "a", 3), tmp_path / "db"
    run_index(folder, photos(tmp_path / "b", 1, first=10), db=db)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(index_module, "make_plan", stop)
        with pytest.raises(KeyboardInterrupt):
            run_index(db=db, rebuild=True)
    assert kinds(run_index(db=db)) == {"added": 4}


def test_interrupted_in_the_middle(tmp_path: Path) -> None:
    """What was embedded is kept; the next run does the rest."""
    folder, db = photos(tmp_path / "photos", 12), tmp_path / "db"

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_index(folder, db=db, batch_size=4, on_progress=stop)
    before = len(rows_of(db))
    assert 4 <= before < 12
    assert kinds(run_index(folder, db=db)) == {"added": 12 - before, "unchanged": before}
    check_embeddings(db)


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    told: list[tuple[object, ...]] = []
    folder = photos(tmp_path / "photos", 10)
    (folder / "bad.jpg").write_bytes(b"bad")
    run_index(
        folder,
        db=tmp_path / "db",
        batch_size=4,
        on_progress=lambda *words: told.append(words),
    )
    images = [line[1:] for line in told if line[0] == "images"]
    assert images[0] == (0, 11, "")
    assert images[-1][:2] == (11, 11)
    assert "1 cannot be used" in [line[2] for line in images]


def test_a_caption_that_comes_later(tmp_path: Path, embedded: list[int]) -> None:
    folder, db = photos(tmp_path / "photos", 2), tmp_path / "db"
    run_index(folder, db=db)
    beside = folder / "0001.txt"
    beside.write_text("A caption.")
    os.utime(beside, ns=(1, (folder / "0001.jpg").stat().st_mtime_ns + 10**9))
    assert kinds(run_index(folder, db=db)) == {"unchanged": 2}
    assert sum(embedded) == 2
    assert Store.open(str(db)).count("caption = 'A caption.'") == 1


def test_images_in_object_storage(tmp_path: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/indexed/a.jpg", jpeg_bytes(1))
    db = tmp_path / "db"
    assert kinds(run_index("memory://indexed", db=db)) == {"added": 1}
    [row] = Store.open(str(db)).rows("sha256", [*rows_of(db).values()])
    assert (row.facts.source, row.facts.name) == ("memory://indexed", "a.jpg")
    assert kinds(run_index(db=db)) == {"unchanged": 1}
    fsspec.filesystem("memory").rm("/indexed", recursive=True)


def test_numbers_that_make_no_sense_are_told_before_anything_is_made(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 1)
    for name in ("batch_size", "thumbnail"):
        with pytest.raises(
            UsageError, match=f"--{name.replace('_', '-')} is 0, must be at least 1"
        ):
            run_index(folder, db=tmp_path / "db", **{name: 0})
    assert not (tmp_path / "db").exists()


def test_no_rebuild_while_a_part_of_a_source_cannot_be_read(tmp_path: Path) -> None:
    folder, db = tmp_path / "tars", tmp_path / "db"
    folder.mkdir()
    for i in range(2):
        tar_file(folder / f"{i}.tar", {"a.jpg": jpeg_bytes(i)})
    pattern = folder / "*.tar"
    run_index(pattern, db=db)
    whole = (folder / "1.tar").read_bytes()
    (folder / "1.tar").write_bytes(whole[:600])
    with pytest.raises(SearchError, match="would be lost"):
        run_index(pattern, db=db, rebuild=True)
    assert len(rows_of(db)) == 2


def test_half_a_character_in_a_caption_stops_nothing(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 1)
    (folder / "0000.json").write_text('{"caption": "\\ud83d boat"}')
    assert run_index(folder, db=tmp_path / "db").added == 1
    [row] = Store.open(str(tmp_path / "db")).rows("uri", [str(folder / "0000.jpg")])
    assert row.facts.caption == "\ufffd boat"


def test_a_run_that_failed_binds_no_model(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 2), str(tmp_path / "db")
    Store.create(db, About.of(small_clip(seed=1), "other"), sources=["/gone"])
    assert run_index(folder, db=Path(db)).added == 2
    store = Store.open(db)
    assert store.about == About.of(MODEL, "small")
    assert store.sources() == ["/gone", str(folder)]
    with pytest.raises(SearchError, match="another model"):
        index([folder], db, small_clip(seed=1), model_name="other")


def test_larger_than_pillow_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    folder, db = photos(tmp_path / "photos", 1), tmp_path / "db"
    [bad] = run_index(folder, db=db, max_pixels=600).bad
    assert "too large to be decoded" in bad.reason
    assert not bad.lasting
    assert run_index(folder, db=db, max_pixels=40 * 48).added == 1
    assert Image.MAX_IMAGE_PIXELS == 500


def test_what_was_too_large_is_read_when_larger_ones_are_allowed(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 1), tmp_path / "db"
    [bad] = run_index(folder, db=db, max_pixels=100).bad
    assert "100 allowed" in bad.reason
    assert not bad.lasting
    assert run_index(folder, db=db).added == 1


def test_copies_without_original_cause_no_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that have changed places: their originals are overwritten before they are asked for."""
    monkeypatch.setattr(outcomes, "_ROWS_PER_WRITE", 4)
    folder, db = photos(tmp_path / "photos", 40), tmp_path / "db"
    run_index(folder, db=db)
    for i in range(40):
        photo(folder / f"{i:04d}.jpg", i - 1 if i else 999)
    writes = []
    original = outcomes.Outcomes.write

    def counted(self: outcomes.Outcomes) -> None:
        writes.append(1)
        original(self)

    monkeypatch.setattr(outcomes.Outcomes, "write", counted)
    assert run_index(folder, db=db, batch_size=4).changed == 40
    assert len(writes) < 30
