"""Files and directories are wholly there or not at all, whatever happens while they are written."""

import os
from pathlib import Path

import pytest

from longclip.util.files import atomic_directory, atomic_path, write_text


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
