import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longclip.errors import SearchError
from longclip.search.database.store import LOCK_NAME, writer_lock

HOLD = """
import sys, time
from longclip.search.database.store import writer_lock
with writer_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_writes_and_the_lock_goes_with_its_holder(
    tmp_path: Path,
) -> None:
    place = tmp_path / "db"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(SearchError, match=rf"db is being written by process {holder.pid} on "),
            writer_lock(str(place)),
        ):
            raise AssertionError("two writers")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    with writer_lock(str(place)):
        assert json.loads((place / LOCK_NAME).read_text())["process"] == os.getpid()
        (place / "table").touch()
    assert sorted(path.name for path in place.iterdir()) == [LOCK_NAME, "table"]
    with writer_lock(str(place)):
        pass


def test_a_damaged_lock_file_still_locks(tmp_path: Path) -> None:
    with writer_lock(str(tmp_path)):
        (tmp_path / LOCK_NAME).write_text("?")
        with pytest.raises(SearchError, match="by another process"), writer_lock(str(tmp_path)):
            pass


def test_object_storage_has_no_lock() -> None:
    with writer_lock("s3://bucket/db"), writer_lock("s3://bucket/db"):
        pass


@pytest.mark.parametrize("there", ["", "a", "a/b", "a/b/db"])
def test_what_was_made_for_the_lock_alone_goes_with_it(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    place = tmp_path / "a" / "b" / "db"
    with pytest.raises(KeyError), writer_lock(str(place)):
        raise KeyError((place / LOCK_NAME).stat())
    assert sorted(tmp_path.rglob("*")) == before


def test_what_others_have_put_there_stays(tmp_path: Path) -> None:
    place = tmp_path / "a" / "db"
    with writer_lock(str(place)):
        (tmp_path / "a" / "notes.txt").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "notes.txt"]


def test_the_second_of_two_writers_takes_no_lock_away(tmp_path: Path) -> None:
    with writer_lock(str(tmp_path)):
        for _ in range(2):
            with pytest.raises(SearchError, match="is being written by process"):
                writer_lock(str(tmp_path)).__enter__()
        assert (tmp_path / LOCK_NAME).exists()


def test_a_lock_that_was_cleared_away_before_it_was_ours_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking the one before us ends, and clears away what it has made."""
    place = tmp_path / "db"
    fcntl = pytest.importorskip("fcntl")
    flock, removed = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not removed:
            removed.append(True)
            (place / LOCK_NAME).unlink()
            place.rmdir()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        writer_lock(str(place)),
        pytest.raises(SearchError, match="is being written by process"),
        writer_lock(str(place)),
    ):
        raise AssertionError("two writers")
    assert removed
    assert not place.exists()


def test_many_short_writers_exclude_one_another_and_leave_nothing(tmp_path: Path) -> None:
    place, inside, clashes, turns = tmp_path / "a" / "db", [0], [], []

    def write() -> None:
        while len(turns) < 300:
            try:
                with writer_lock(str(place)):
                    inside[0] += 1
                    clashes.extend([True] * (inside[0] > 1))
                    turns.append(True)
                    inside[0] -= 1
            except SearchError as error:
                assert "is being written by" in str(error)  # noqa: PT017 (one of two outcomes)

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(write) for _ in range(4)]:
            each.result()
    assert not clashes
    with writer_lock(str(place)):
        pass
    assert not (place / LOCK_NAME).exists()


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling"])
def test_where_no_directory_can_be(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "x"
    if kind == "dangling":
        place.symlink_to(tmp_path / "gone")
    else:
        place.touch()
    target = place / "db" if kind == "below a file" else place
    with pytest.raises(SearchError, match=r"x.* cannot be written"), writer_lock(str(target)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
