"""One process writes into the directory of a run; whether it lives is known."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from longclip.errors import UsageError
from longclip.runs import writer as module
from longclip.runs.writer import WRITER, RunWriter, writer_state

_CHILD = """
import sys, time
from pathlib import Path
from longclip.runs.writer import RunWriter
writer = RunWriter(Path(sys.argv[1]))
writer.take()
writer.announce()
print("taken", flush=True)
time.sleep(60)
"""


def writing_elsewhere(run: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(run)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_a_second_writer_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    child = writing_elsewhere(tmp_path / "run")
    try:
        state = writer_state(tmp_path / "run")
        assert state is not None
        assert state.alive
        says = rf"is being written by process {child.pid} on .* since 2.*\(kill {child.pid}\), or"
        with pytest.raises(UsageError, match=says):
            RunWriter(tmp_path / "run").take()
    finally:
        child.kill()
        child.communicate()
    state = writer_state(tmp_path / "run")
    assert state is not None
    assert state.writer is not None
    assert (state.alive, state.writer.process, state.writer.outcome) == (False, child.pid, "")
    writer = RunWriter(tmp_path / "run")
    writer.take()
    writer.announce()
    writer.release("failed", "no room\nat all")
    state = writer_state(tmp_path / "run")
    assert state is not None
    assert state.writer is not None
    assert not state.alive
    assert (state.writer.process, state.writer.reason) == (os.getpid(), "no room")


def test_of_many_at_once_one_is_the_writer(tmp_path: Path) -> None:
    taken: list[RunWriter] = []

    def take() -> None:
        writer = RunWriter(tmp_path / "run")
        try:
            writer.take()
        except UsageError:
            return
        taken.append(writer)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1
    taken[0].give_up()
    assert not list(tmp_path.rglob(WRITER))


def test_who_gives_up_leaves_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    writer = RunWriter(tmp_path / "run")
    writer.take()
    writer.give_up()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]
    (tmp_path / "run" / WRITER).write_text("damaged")
    writer = RunWriter(tmp_path / "run")
    writer.take()
    writer.give_up()
    assert (tmp_path / "run" / WRITER).read_text() == "damaged"


def test_on_another_machine_the_heartbeat_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DEAD_AFTER_SECONDS", 0.3)
    path = tmp_path / WRITER
    path.write_text(json.dumps({"process": 1, "host": "elsewhere", "since": "yesterday"}))
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    with (
        pytest.warns(UserWarning, match="process 1 on elsewhere"),
        pytest.raises(UsageError, match="process 1 on elsewhere since yesterday"),
    ):
        RunWriter(tmp_path).take()
    state = writer_state(tmp_path)
    assert state is not None
    assert state.alive
    done.set()
    thread.join()
    with pytest.warns(UserWarning, match="watching it"):
        RunWriter(tmp_path).take()
    os.utime(path, (time.time() - 3600,) * 2)


def test_without_locks_the_heartbeat_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "_DEAD_AFTER_SECONDS", 0.4)
    monkeypatch.setattr(module.locks, "take_lock", lambda descriptor: None)
    first = RunWriter(tmp_path)
    first.take()
    first.announce()
    with (
        pytest.warns(UserWarning, match="watching it"),
        pytest.raises(UsageError, match="is being written by process"),
    ):
        RunWriter(tmp_path).take()
    first.release("stopped")
    RunWriter(tmp_path).take()
