import io
import itertools
from types import SimpleNamespace

from rich.console import Console

from longclip.util import terminal
from longclip.util.terminal import progress_display


def tell_the_time(monkeypatch, clock):
    # Not in `time` itself: the event loops of other threads would sleep until the real time comes.
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: next(clock)))


def test_a_pipe_gets_plain_lines_now_and_then(monkeypatch):
    tell_the_time(monkeypatch, itertools.count(0.0, 4.0))
    out = io.StringIO()
    with progress_display(Console(file=out, width=30)) as report:
        for done in range(0, 60, 10):
            report("set [x]: images", done, 50)
    assert out.getvalue().splitlines() == [
        "set [x]: images: 30 of 50, 2.5/s, 8 s left",
        "set [x]: images: 50 of 50, 2.5/s",
    ]


def test_what_was_done_before_a_stage_goes_on_has_no_part_in_its_pace(monkeypatch):
    tell_the_time(monkeypatch, itertools.count(0.0, 4.0))
    out = io.StringIO()
    with progress_display(Console(file=out, width=60)) as report:
        for done in (700, 710, 720, 730):
            report("steps", done, 800)
        report("neighbours", 0, 10)
        for done in (740, 740, 740, 740):
            report("steps", done, 800)
    assert out.getvalue().splitlines() == [
        "steps: 730 of 800, 2.5/s, 28 s left",
        "steps: 740 of 800, 0/s",
    ]


def test_a_quick_stage_is_not_worth_a_line_and_an_ended_one_has_one(monkeypatch):
    tell_the_time(monkeypatch, itertools.count(0.0, 0.5))
    out = io.StringIO()
    with progress_display(Console(file=out, width=60)) as report:
        for done in (0, 1, 2):
            report("quick", done, 2)
        for done in (0, 1, 2, 3, 4, 5, 5, 5):
            report("slow", done, 5)
    assert out.getvalue().splitlines() == ["slow: 5 of 5, 2/s"]


def test_a_terminal_gets_one_bar_per_stage():
    out = io.StringIO()
    with progress_display(Console(file=out, force_terminal=True, width=100)) as report:
        for stage in ("images", "texts"):
            for done in range(3):
                report(stage, done, 2)
    assert out.getvalue().count("2/2") >= 2
    assert "texts" in out.getvalue()
