import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from longclip.search.errors import SearchError
from longclip.search.locking import LOCK, writing

HOLD = """
import sys, time
from longclip.search.locking import writing
with writing(sys.argv[1]):
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
            writing(str(place)),
        ):
            raise AssertionError("two writers")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    with writing(str(place)):
        assert json.loads((place / LOCK).read_text())["process"] == os.getpid()
    with writing(str(place)):
        pass


def test_a_damaged_lock_file_still_locks(tmp_path: Path) -> None:
    with writing(str(tmp_path)):
        (tmp_path / LOCK).write_text("?")
        with pytest.raises(SearchError, match="by another process"), writing(str(tmp_path)):
            pass


def test_object_storage_has_no_lock() -> None:
    with writing("s3://bucket/db"), writing("s3://bucket/db"):
        pass
