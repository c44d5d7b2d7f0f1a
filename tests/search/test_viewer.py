"""With programs of our own where a machine's are looked for."""

import sys
import time
from pathlib import Path

import pytest

from longclip.search.query import print as printing
from longclip.search.query.print import show_picture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs here are shell scripts")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for, on a machine with a screen."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return folder


def program(folder: Path, name: str, does: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("platform", "name"), [("linux", "xdg-open"), ("darwin", "open")])
def test_the_opener_of_the_system_gets_the_whole_path(
    programs: Path, monkeypatch: pytest.MonkeyPatch, platform: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.chdir(programs)
    program(programs, name, 'printf %s "$#:$1" > shown; echo noise; echo noise >&2')
    assert show_picture(Path("-a picture's $(name).png"))
    assert (programs / "shown").read_text() == f"1:{programs}/-a picture's $(name).png"


def test_it_says_nothing_in_our_place(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program(programs, "xdg-open", "echo noise; echo noise >&2")
    assert show_picture(Path("a.png"))
    assert capfd.readouterr() == ("", "")


def test_where_there_is_none(programs: Path) -> None:
    assert not show_picture(Path("a.png"))


def test_where_it_finds_no_program(programs: Path) -> None:
    program(programs, "xdg-open", "exit 3")
    assert not show_picture(Path("a.png"))


def test_where_there_is_no_screen(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There xdg-open would start w3m or the like in this terminal."""
    program(programs, "xdg-open", "")
    monkeypatch.delenv("DISPLAY")
    assert not show_picture(Path("a.png"))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert show_picture(Path("a.png"))


def test_a_viewer_that_stays_open_is_not_waited_for(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing, "_MAX_START_SECONDS", 0.2)
    done = programs / "done"
    program(programs, "xdg-open", f"/bin/sleep 1; echo > '{done}'")
    assert show_picture(Path("a.png"))
    assert not done.exists()
    deadline = time.monotonic() + 20
    while not done.exists():  # it was not ended either
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("os.startfile", shown.append, raising=False)
    assert show_picture(Path("a.png"))
    assert shown == [str(Path("a.png").absolute())]

    def none(path: str) -> None:
        raise OSError("no application is associated with it")

    monkeypatch.setattr("os.startfile", none, raising=False)
    assert not show_picture(Path("a.png"))
