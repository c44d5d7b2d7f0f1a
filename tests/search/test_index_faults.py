"""Everything that may go wrong while indexing: nothing is lost, nothing is there twice."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lancedb")

from longclip.errors import EncoderError, SearchError
from longclip.search.database.store import Store, writer_lock
from longclip.search.indexing import image_loader
from longclip.search.sources import file_sources
from tests.helpers.image_files import (
    cut_jpeg,
    encoded,
    noise,
    png_that_claims,
    png_with_broken_data,
)
from tests.helpers.image_folders import (
    MODEL,
    jpeg_bytes,
    photo,
    photos,
    rows_of,
    run_index,
    tar_file,
)

CHILD = """
import sys
sys.path[:0] = sys.argv[4:]
import os
from pathlib import Path
from longclip.search.indexing import outcomes
from tests.helpers import image_folders
outcomes._ROWS_PER_WRITE = 5
print("ready", flush=True)
if sys.argv[3] == "compact":
    from longclip.search.database.store import Store
    store = Store.open(sys.argv[2])
    while True:
        store.put(store.rows("uri", list(store.indexed_from(sys.argv[1]))[:3]))
        store.compact()
image_folders.run_index(sys.argv[1], db=Path(sys.argv[2]), batch_size=5)
print("done", flush=True)
"""


def child(folder: Path, db: Path, what: str = "index") -> "subprocess.Popen[str]":
    root = str(Path(__file__).parents[2])
    words = [sys.executable, "-c", CHILD, str(folder), str(db), what, root]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: "subprocess.Popen[str]") -> bool:
    """Whether it had not ended by itself; no process of it is left."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    ended = "done" in process.stdout.read()
    process.stdout.close()
    process.wait()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return not ended


def check_whole(db: Path, folder: Path) -> None:
    assert rows_of(db).keys() == {str(path) for path in folder.iterdir()}
    store = Store.open(str(db))
    some = sorted(folder.iterdir())[::9]
    expected = MODEL.encode_image(some, normalize=True).detach().numpy()
    found = {row.facts.uri: row.vector for row in store.rows("uri", [str(p) for p in some])}
    assert np.abs(np.stack([found[str(p)] for p in some]) - expected).max() < 2e-3


def test_killed_while_indexing(tmp_path: Path) -> None:
    """At moments all over the run; what was written stays, and the rest follows."""
    folder, db = photos(tmp_path / "photos", 200), tmp_path / "db"
    draw, killed, before = random.Random(0), 0, 0
    for _ in range(2):
        process = child(folder, db)
        time.sleep(draw.uniform(0.1, 0.5))
        killed += kill(process)
        now = len(rows_of(db)) if Store.exists(str(db)) else 0
        assert before <= now <= 200
        before = now
    assert killed
    report = run_index(folder, db=db)
    assert (report.added, report.unchanged) == (200 - before, before)
    check_whole(db, folder)


def test_killed_while_compacting(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 30), tmp_path / "db"
    run_index(folder, db=db)
    draw = random.Random(1)
    process = child(folder, db, "compact")
    time.sleep(draw.uniform(0.2, 0.5))
    assert kill(process)
    check_whole(db, folder)
    assert run_index(folder, db=db).unchanged == 30


@pytest.mark.slow
def test_killed_at_very_many_moments(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 300), tmp_path / "db"
    draw = random.Random(2)
    for _ in range(20):
        process = child(folder, db)
        time.sleep(draw.uniform(0.0, 1.5))
        kill(process)
        if Store.exists(str(db)):
            rows_of(db)
    run_index(folder, db=db)
    check_whole(db, folder)


def test_disk_full(tmp_path: Path) -> None:
    """No file may grow beyond a limit, which is what a full disk looks like to a writer."""
    folder, db = photos(tmp_path / "photos", 12), tmp_path / "db"
    run_index(folder, db=db)
    photos(folder, 30, first=12)
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "sys.path[:0] = sys.argv[3:]\n"
        "from tests.helpers import image_folders\n"
        "from longclip.errors import SearchError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    image_folders.run_index(sys.argv[1], db=Path(sys.argv[2]))\n"
        "except SearchError as error:\n    print(error)\n"
    )
    words = [sys.executable, "-c", program, folder, db, Path(__file__).parents[2]]
    told = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert f"{db} cannot be written: " in told.stdout, told.stderr
    assert "run the same command again" in told.stdout
    assert len(rows_of(db)) == 12
    assert run_index(folder, db=db).added == 30
    check_whole(db, folder)


def test_what_a_killed_writer_had_begun_is_removed_by_the_next(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 2), tmp_path / "db"
    run_index(folder, db=db)
    data = db / "images.lance" / "data"
    kept = set(data.iterdir())
    begun = [data / ".tmpGaZEcm", db / "images.lance" / "_versions" / "9.manifest#1"]
    orphan = data / f"{'01' * 16}.lance"
    for path in (*begun, orphan):
        shutil.copy(next(iter(kept)), path)
    run_index(folder, db=db)
    assert not any(path.exists() for path in (*begun, orphan))
    assert rows_of(db).keys() == {str(path) for path in folder.iterdir()}


def test_two_writers(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 3), tmp_path / "db"
    with writer_lock(str(db)), pytest.raises(SearchError, match="is being written by process"):
        run_index(folder, db=db)
    assert run_index(folder, db=db).added == 3


def test_nothing_stays_of_a_run_that_failed_before_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar file")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SearchError, match="is no tar file"):
        run_index(tmp_path / "x.tar", db=tmp_path / "new" / "db")
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "db").mkdir()
    with pytest.raises(SearchError, match="is no tar file"):
        run_index(tmp_path / "x.tar", db=tmp_path / "db")
    assert list((tmp_path / "db").iterdir()) == []


def test_two_writers_without_a_lock_do_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in object storage: the second one writes between two writes of the first."""
    from longclip.search.indexing import index as index_module
    from longclip.search.indexing import outcomes

    monkeypatch.setattr(index_module, "writer_lock", lambda place: contextlib.nullcontext())
    monkeypatch.setattr(outcomes, "_ROWS_PER_WRITE", 4)
    folder, db = photos(tmp_path / "photos", 20), tmp_path / "db"
    inner = iter([True])

    def other(stage: str, done: int, total: int, note: str = "") -> None:
        if done == 8 and next(inner, False):
            run_index(folder, db=db)

    run_index(folder, db=db, batch_size=4, on_progress=other)
    check_whole(db, folder)


BAD: dict[str, Callable[[], bytes]] = {
    "empty.jpg": lambda: b"",
    "page.jpg": lambda: b"<html>404 not found</html>",
    "text.png": lambda: b"a text",
    "cut.jpg": cut_jpeg,
    "broken.png": png_with_broken_data,
    "only-a-beginning.png": lambda: b"\x89PNG\r\n\x1a\n",
    "bomb.png": lambda: png_that_claims(60_000, 60_000),
    "large.png": lambda: png_that_claims(10_000, 10_001),
    "nothing-wide.png": lambda: png_that_claims(0, 5),
    "sliver.png": lambda: encoded(Image.new("L", (1, 60_000))),
    "floats.tif": lambda: encoded(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF"),
    "out-of-range.tif": lambda: encoded(Image.fromarray(np.full((2, 2), -1, np.int32)), "TIFF"),
    "zeros.jpg": lambda: bytes(5000),
    "beginning.jpg": lambda: b"\xff\xd8\xff\xe0",
    "cut.gif": lambda: encoded(Image.fromarray(noise(50, 50)).quantize(), "GIF")[:60],
    "cut.webp": lambda: encoded(Image.fromarray(noise(50, 50)), "WEBP")[:100],
    "cut.tif": lambda: encoded(Image.fromarray(noise(50, 50)), "TIFF")[:200],
    "cut.bmp": lambda: encoded(Image.fromarray(noise(50, 50)), "BMP")[:300],
    "phone.heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "program.jpg": lambda: b"\x7fELF" + bytes(500),
}


def test_twenty_kinds_of_bad_images(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 3), tmp_path / "db"
    for name, make in BAD.items():
        (folder / name).write_bytes(make())
    shutil.copy(folder / "cut.jpg", folder / "cut again.jpg")
    report = run_index(folder, db=db, batch_size=2)
    assert {Path(bad.uri).name for bad in report.bad} == {*BAD, "cut again.jpg"}
    assert all(bad.reason and "the image of" not in bad.reason for bad in report.bad)
    reasons = {Path(bad.uri).name: bad.reason for bad in report.bad}
    assert "empty" in reasons["empty.jpg"]
    assert "too large" in reasons["bomb.png"]
    assert reasons["cut.jpg"] == reasons["cut again.jpg"]
    assert "10000 x 10001 pixels are more than" in reasons["large.png"]
    assert (report.added, report.total) == (3, 3)
    assert run_index(folder, db=db).unchanged == 3


def test_a_picture_that_breaks_keeps_what_was_known(tmp_path: Path) -> None:
    """It may just be half copied; when it is whole again it is read again."""
    folder, db = photos(tmp_path / "photos", 2), tmp_path / "db"
    run_index(folder, db=db)
    (folder / "0001.jpg").write_bytes(jpeg_bytes(50)[:700])
    report = run_index(folder, db=db)
    assert (len(report.bad), report.total, report.deleted) == (1, 2, 0)
    photo(folder / "0001.jpg", 50)
    assert run_index(folder, db=db).changed == 1
    check_whole(db, folder)


def test_files_that_go_or_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, db = photos(tmp_path / "photos", 3), tmp_path / "db"
    monkeypatch.setattr(image_loader, "MAX_IMAGE_BYTES", 1_000_000)
    with (folder / "huge.jpg").open("wb") as huge:
        huge.truncate(2_000_000)
    read = file_sources.read_file

    def troubled(path: str) -> bytes:
        if path.endswith("0000.jpg"):
            raise FileNotFoundError(2, "No such file or directory")
        if path.endswith("0001.jpg"):
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(file_sources, "read_file", troubled)
    report = run_index(folder, db=db)
    assert [(Path(bad.uri).name, bad.reason.split(":")[0]) for bad in report.bad] == [
        ("0000.jpg", "it cannot be read"),
        ("0001.jpg", "it cannot be read"),
        ("huge.jpg", "2,000,000 bytes are more than any photo has; leave it out"),
    ]
    assert report.added == 1


def test_names_that_try_something(tmp_path: Path) -> None:
    folder, db = tmp_path / "photos", tmp_path / "db"
    names = [
        "it's.jpg", "a'; DROP TABLE images; --.jpg", "<script>alert(1)<.jpg", 'quo"te.jpg',
        "new\nline.jpg", "ünï ☃ 日本.jpg", "%2e%2e.jpg", "a::b.jpg", "-rf.jpg", "\\x.jpg",
    ]  # fmt: skip
    for i, name in enumerate(names):
        photo(folder / name, i)
    photo(folder / "gone'.jpg", 99)
    assert run_index(folder, db=db).added == len(names) + 1
    (folder / "gone'.jpg").unlink()
    assert run_index(folder, db=db).deleted == 1
    check_whole(db, folder)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 2), tmp_path / "db"
    try:
        (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg_bytes(9))
    except OSError:
        pytest.skip("this file system takes no such names")
    report = run_index(folder, db=db)
    assert (report.added, [bad.reason for bad in report.bad]) == (
        2,
        ["its name is no UTF-8; rename it"],
    )


def test_a_shard_that_is_cut_off_later_loses_nothing(tmp_path: Path) -> None:
    tar = tar_file(tmp_path / "x.tar", {f"{i}.jpg": jpeg_bytes(i) for i in range(4)})
    db = tmp_path / "db"
    assert run_index(tar, db=db).added == 4
    tar.write_bytes(tar.read_bytes()[:6000])
    report = run_index(tar, db=db)
    assert (report.deleted, report.total) == (0, 4)
    assert "cut off" in report.unread[0].reason


def test_a_model_that_gives_no_numbers(tmp_path: Path) -> None:
    import copy

    import torch

    from longclip.search.indexing.index import index

    broken = copy.deepcopy(MODEL)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
        broken.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(EncoderError, match=r"this model .*not finite"):
        index([photos(tmp_path / "p", 2)], tmp_path / "db", broken, model_name="broken")
