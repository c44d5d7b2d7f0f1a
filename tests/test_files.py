"""Files and directories are wholly there or not at all, whatever happens while they are written."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from longclip.util.files import atomic_directory, atomic_path, remove_leftovers, write_text
from longclip.util.regular_files import open_regular, read_regular


class Crash(Exception):
    pass


def write_half_a_file(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise Crash


def write_half_a_directory(path: Path) -> None:
    with atomic_directory(path, marker="mark") as new:
        (new / "mark").write_text("half")
        raise Crash


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "not" / "there" / "yet.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["yet.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(Crash):
        write_half_a_file(target)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_text_is_utf_8_and_readable_like_any_new_file(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_text(tmp_path / "text", "77 → 248\n")
    finally:
        os.umask(previous)
    assert (tmp_path / "text").read_bytes() == "77 → 248\n".encode()
    assert (tmp_path / "text").stat().st_mode & 0o777 == 0o644


def write_directory(path: Path, content: str) -> None:
    with atomic_directory(path, marker="mark") as new:
        (new / "mark").write_text(content)
        assert not (path / "mark").exists() or (path / "mark").read_text() != content


def test_a_directory_appears_and_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "directory"
    write_directory(target, "first")
    (target / "more").write_text("of the first")
    write_directory(target, "second")
    assert (target / "mark").read_text() == "second"
    assert names(target) == ["mark"]
    assert names(target.parent) == ["directory"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "other disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to("other disk/model")
    for content in ("first", "second"):  # it leads nowhere at first
        with atomic_directory(link, marker="mark") as new:
            (new / "mark").write_text(content)
        assert link.is_symlink()
        assert (tmp_path / "other disk" / "model" / "mark").read_text() == content
    assert [path.name for path in (tmp_path / "other disk").iterdir()] == ["model"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_directory(tmp_path / "made", "content")
    assert names(tmp_path / "made") == ["mark"]


def test_a_failure_leaves_the_old_directory_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    write_directory(target, "old")
    with pytest.raises(Crash):
        write_half_a_directory(target)
    assert (target / "mark").read_text() == "old"
    assert names(tmp_path) == ["directory"]


def test_a_failure_at_the_last_moment_brings_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "directory"
    write_directory(target, "old")
    real_rename = Path.rename

    def rename(path: Path, to: Path) -> Path:
        if path.name == "new":
            raise OSError("the disk is gone")
        return real_rename(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="the disk is gone"):
        write_directory(target, "new")
    assert (target / "mark").read_text() == "old"
    assert names(tmp_path) == ["directory"]


@pytest.mark.parametrize("kind", ["file", "directory of something else"])
def test_what_is_of_another_kind_is_not_replaced(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    if kind == "file":
        target.write_text("work of years")
        kept = target
    else:
        target.mkdir()
        kept = target / "thesis.txt"
        kept.write_text("work of years")
    with (
        pytest.raises(FileExistsError, match=r"precious exists and holds no mark.*new directory"),
        atomic_directory(target, marker="mark"),
    ):
        pytest.fail("the block must not be entered")
    assert kept.read_text() == "work of years"
    assert names(tmp_path) == ["precious"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from longclip.util.files import atomic_directory, atomic_path
target = Path(sys.argv[1])
if sys.argv[2] == "file":
    with atomic_path(target) as new:
        new.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
rename = Path.rename
def once(self, new):
    rename(self, new)
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "renaming":
    Path.rename = once
with atomic_directory(target, marker="mark") as new:
    (new / "mark").write_text("half")
    if sys.argv[2] == "directory":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_while_writing(target: Path, moment: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _KILLED, str(target), moment]
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    assert any(path.suffix == ".partial" for path in target.parent.iterdir())


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        kill_while_writing(tmp_path / "text", "file")
    with atomic_path(tmp_path / "text") as going_on:
        write_text(tmp_path / "text", "whole")
        assert names(tmp_path) == [going_on.name, "text"]
    kill_while_writing(tmp_path / "made", "directory")
    write_directory(tmp_path / "made", "whole")
    assert names(tmp_path) == ["made", "text"]


def test_a_directory_that_was_being_replaced_comes_back(tmp_path: Path) -> None:
    write_directory(tmp_path / "made", "first")
    kill_while_writing(tmp_path / "made", "renaming")
    assert not (tmp_path / "made").exists()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["made"]
    assert (tmp_path / "made" / "mark").read_text() == "first"


def test_files_of_others_are_no_leftovers(tmp_path: Path) -> None:
    for name in (".text.partial", ".text.12345678", "text.12345678.partial", ".text.1.partial"):
        (tmp_path / name).touch()
    before = names(tmp_path)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == before


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe without a writer would be waited for, and a device read without end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(OSError, match=rf"Not a regular file.*{name}"):
            read_regular(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_a_small_file_is_read_whole_and_a_large_one_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match=r"Larger than the 4e-06 MB"):
        read_regular(tmp_path / "a", 4)


def test_a_full_disk_is_told_with_the_name_of_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(OSError, match=f"{path}"), atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")  # as of `write`: without a name
    with pytest.raises(OSError, match=f"{path}"), atomic_directory(path, marker="mark"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"^\[Errno 5\] broken$"), atomic_path(path):
        raise OSError(errno.EIO, "broken")
