"""Whole runs with Ray: the same database as without, whatever happens in between."""

import contextlib
import copy
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers import image_folders

pytest.importorskip("lancedb")

from longclip.errors import EncoderError, SearchError
from longclip.search.config import Cluster
from longclip.search.database.shard_table import ShardTable
from longclip.search.database.store import Store
from longclip.search.indexing.cluster.ray_session import check_address
from longclip.search.indexing.outcomes import IndexReport
from tests.helpers.image_folders import (
    jpeg_bytes,
    kinds,
    photo,
    photos,
    rows_of,
    run_index,
    tar_file,
)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """One small Ray for all tests here: starting it takes seconds."""
    ray = pytest.importorskip("ray")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            "local",
            num_cpus=2,
            object_store_memory=150 << 20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    yield
    ray.shutdown()


pytestmark = pytest.mark.usefixtures("ray_here")
ONE = Cluster(encoders=1, images_per_task=4)


def shard(path: Path, seeds: Sequence[int]) -> Path:
    return tar_file(path, {f"{seed:04d}.jpg": jpeg_bytes(seed) for seed in seeds})


def run(*sources: object, db: Path, **options: object) -> IndexReport:
    return run_index(*sources, db=db, cluster=ONE, **options)


def table(db: Path) -> dict[str, tuple[object, bytes, np.ndarray]]:
    store = Store.open(str(db))
    return {
        row.facts.uri: (row.facts, row.thumbnail, row.vector)
        for row in store.rows("uri", list(rows_of(db)))
    }


def test_the_same_table_as_without_a_cluster(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 9)
    (folder / "0003.txt").write_text("A third one.")
    (folder / "bad.jpg").write_bytes(b"no picture")
    shard(tmp_path / "part-0.tar", range(100, 107))
    shard(tmp_path / "part-1.tar", range(200, 205))
    images = [{"bytes": jpeg_bytes(300 + i)} for i in range(6)]
    pq.write_table(pa.table({"image": images, "caption": [f"Row {i}" for i in range(6)]}),
                   tmp_path / "rows.parquet", row_group_size=2)  # fmt: skip
    sources = (folder, tmp_path / "part-{0..1}.tar", tmp_path / "rows.parquet")
    with_it = run(*sources, db=tmp_path / "with")
    without = run_index(*sources, db=tmp_path / "without")
    assert kinds(with_it) == kinds(without) == {"added": 27}
    assert (with_it.found, with_it.embedded, with_it.total) == (28, 27, 27)
    assert with_it.bad == without.bad
    ours, theirs = table(tmp_path / "with"), table(tmp_path / "without")
    assert ours.keys() == theirs.keys()
    for uri, (facts, thumbnail, vector) in ours.items():
        assert (facts, thumbnail) == theirs[uri][:2]
        assert np.abs(vector - theirs[uri][2]).max() < 2e-3
    assert Store.open(str(tmp_path / "with")).sources() == [str(s) for s in sources]
    # Each engine goes on where the other was.
    photo(folder / "new.jpg", 77)
    assert kinds(run(*sources, db=tmp_path / "without")) == {"added": 1, "unchanged": 27}
    assert kinds(run_index(*sources, db=tmp_path / "with")) == {"added": 1, "unchanged": 27}


def test_what_happens_to_shards(tmp_path: Path) -> None:
    db, pattern = tmp_path / "db", tmp_path / "part-*.tar"
    for i in range(4):
        shard(tmp_path / f"part-{i}.tar", range(10 * i, 10 * i + 5))
    assert kinds(run(pattern, db=db)) == {"added": 20}
    done = ShardTable(str(db)).indexed(str(pattern))
    assert {shard.images for shard in done.values()} == {5}
    assert len(done) == 4

    shard(tmp_path / "part-0.tar", [0, 1, 2, 700, 701, 702])  # two gone, three new
    (tmp_path / "part-1.tar").rename(tmp_path / "part-7.tar")  # moved with all in it
    (tmp_path / "part-2.tar").unlink()
    shard(tmp_path / "part-8.tar", [30, 31, 800])  # two of them copies of what is in part-3
    report = run(pattern, db=db)
    counts = kinds(report)
    assert counts["unchanged"] == 5 + 3
    assert counts["added"] + counts.get("moved", 0) == 3 + 5 + 3
    assert report.embedded == 3 + 1
    assert report.total == len(rows_of(db)) == 6 + 5 + 5 + 3
    assert not any("part-1.tar" in uri or "part-2.tar" in uri for uri in rows_of(db))
    assert kinds(run(pattern, db=db)) == {"unchanged": 19}


def test_a_finished_shard_is_not_opened_again(tmp_path: Path) -> None:
    db, path = tmp_path / "db", shard(tmp_path / "a.tar", range(4))
    run(path, db=db)
    about = path.stat()
    path.write_bytes(b"x" * about.st_size)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert kinds(run(path, db=db)) == {"unchanged": 4}
    os.utime(path, ns=(1, 1))
    report = run(path, db=db)
    assert "no tar file" in report.unread[0].reason
    assert report.total == 4


def test_broken_images_are_told_again_but_not_read_again(tmp_path: Path) -> None:
    content = {"good.jpg": jpeg_bytes(1), "bad.jpg": b"no picture", "bad2.jpg": b"no picture"}
    path, db = tar_file(tmp_path / "a.tar", content), tmp_path / "db"
    first, second = run(path, db=db), run(path, db=db)
    assert [bad.uri.rpartition("::")[2] for bad in first.bad] == ["bad.jpg", "bad2.jpg"]
    assert second.bad == first.bad
    assert (second.found, second.unchanged) == (3, 1)


def test_a_damaged_shard_is_looked_into_again(tmp_path: Path) -> None:
    path, db = shard(tmp_path / "a.tar", range(6)), tmp_path / "db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = run(path, db=db)
    assert 0 < report.added < 6
    assert "cut off" in report.unread[0].reason
    assert ShardTable(str(db)).indexed(str(path)) == {}


def test_copies_and_places_that_change(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 8), tmp_path / "db"
    for i in range(8):
        photo(folder / f"copy-{i}.jpg", i)
    report = run(folder, db=db)
    assert report.added == 16
    assert report.duplicates + report.embedded == 16
    (folder / "0001.jpg").rename(folder / "moved.jpg")
    (folder / "copy-1.jpg").unlink()
    report = run(folder, db=db)
    assert kinds(report) == {"moved": 1, "deleted": 1, "unchanged": 14}
    assert report.embedded == 0


def test_contents_that_change_places(tmp_path: Path) -> None:
    """Rows are overwritten while others are taken for copies of them."""
    folder, db = photos(tmp_path / "photos", 6), tmp_path / "db"
    run(folder, db=db)
    before = rows_of(db)
    for i in range(6):
        photo(folder / f"{i:04d}.jpg", (i + 1) % 6 if i else 77)
    assert run(folder, db=db).bad == ()
    fresh = tmp_path / "fresh"
    run_index(folder, db=fresh)
    assert rows_of(db) == rows_of(fresh) != before


def test_an_unplugged_shard_is_kept_and_no_rebuild_without_it(tmp_path: Path) -> None:
    db, folder = tmp_path / "db", photos(tmp_path / "photos", 2)
    path = shard(tmp_path / "a.tar", range(10, 13))
    run(folder, path, db=db)
    path.rename(tmp_path / "elsewhere")
    report = run(db=db)
    assert (report.total, report.deleted) == (5, 0)
    assert [place.uri for place in report.unread] == [str(path)]
    with pytest.raises(SearchError, match="would be lost"):
        run(folder, db=db, rebuild=True)
    (tmp_path / "elsewhere").rename(path)
    assert kinds(run(folder, db=db, rebuild=True)) == {"added": 5}


def test_what_is_wrong_on_a_worker_is_told_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = copy.deepcopy(image_folders.MODEL)
    with torch.no_grad():
        for parameter in damaged.parameters():
            parameter.fill_(float("nan"))
    monkeypatch.setattr(image_folders, "MODEL", damaged)
    expected = "embeddings that are not finite .*: its weights are damaged.*or float32$"
    with pytest.raises(EncoderError, match=expected):
        run(photos(tmp_path / "photos", 3), db=tmp_path / "db")


CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from tests.helpers import image_folders
from longclip.search import Cluster
from longclip.search.indexing import outcomes
outcomes._ROWS_PER_WRITE = 4
cluster = Cluster(encoders=1, images_per_task=2)
def tell(stage, done, total, note=""):
    print(done, flush=True)
image_folders.run_index(sys.argv[1], db=Path(sys.argv[2]), cluster=cluster, on_progress=tell)
"""


def test_where_no_cluster_answers_nothing_is_begun(tmp_path: Path) -> None:
    folder, db = photos(tmp_path / "photos", 1), tmp_path / "db"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_address(f"127.0.0.1:{port}")
        check_address(f"ray://127.0.0.1:{port}")
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(
            SearchError, match=rf"no Ray cluster answers at {address}: Connection refused"
        ):
            run_index(folder, db=db, cluster=Cluster(address))
    for address in ("127.0.0.1", "nonsense", "a:b", "127.0.0.1:99999"):
        with pytest.raises(SearchError, match=f"{address} is no address of a Ray cluster"):
            run_index(folder, db=db, cluster=Cluster(address))
    assert not db.exists()


@pytest.mark.slow
def test_killed_while_indexing_with_ray(tmp_path: Path) -> None:
    db, place = tmp_path / "db", tmp_path / "part-{0..9}.tar"
    for i in range(10):
        shard(tmp_path / f"part-{i}.tar", range(100 * i, 100 * i + 20))
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", CHILD, str(place), str(db), root]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    end = time.monotonic() + 120
    while int(child.stdout.readline() or 200) < 60:
        assert time.monotonic() < end
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    there = len(rows_of(db))
    assert 0 < there < 200
    report = run(place, db=db)
    assert report.total == len(rows_of(db)) == 200
    assert (report.embedded, report.unchanged) == (200 - there, there)


def _encoders() -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"ray::MapWorker" in place.read_bytes():
                found.append(int(place.parent.name))
    return found


@pytest.mark.slow
def test_an_encoder_that_dies_is_replaced(tmp_path: Path) -> None:
    for i in range(10):
        shard(tmp_path / f"part-{i}.tar", range(100 * i, 100 * i + 20))
    killed: list[int] = []

    def tell(stage: str, done: int, total: int, note: str = "") -> None:
        if done > 40 and not killed:
            killed.extend(_encoders())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    report = run(tmp_path / "part-{0..9}.tar", db=tmp_path / "db", on_progress=tell)
    assert killed
    assert (report.added, report.total, report.bad) == (200, 200, ())
    assert len(rows_of(tmp_path / "db")) == 200
