import io
from dataclasses import replace

import pytest
from rich.console import Console

from longclip.search.database.schema import Facts
from longclip.search.query.print import print_found
from longclip.search.query.query import Found, FoundImage
from longclip.search.query.sentence_scores import LEGEND

TIMES = {"embedding": 0.25, "searching": 0.02, "explaining": 0.01}


def answer(hits=(), sentences=(), **values) -> Found:
    given = {
        "tokens": 9,
        "context_length": 77,
        "pieces": 1,
        "exact": True,
        "total": 1200,
        "empty": False,
    }
    return Found(tuple(hits), tuple(sentences), notes=(), seconds=TIMES, **(given | values))


def hit(name: str, scores=(), also=()) -> FoundImage:
    return FoundImage(Facts(f"/p/{name}", "/p", "/p", name, name, 9), 0.5, tuple(also), scores)


def printed(found: Found, *, terminal: bool, width: int = 60) -> str:
    written = io.StringIO()
    colours = "standard" if terminal else "auto"
    console = Console(file=written, force_terminal=terminal, width=width, color_system=colours)
    print_found(found, console)
    return written.getvalue()


@pytest.fixture(autouse=True)
def _colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


SCORED = answer(
    [hit("a.jpg", (3.2, 1.2, 0.5, -0.5))], ["One.", "Two [red]x[/].", "Three.", "Four."]
)


def test_a_pipe_gets_marks():
    out = printed(SCORED, terminal=False)
    assert "\x1b" not in out
    assert "1   0.500  +:.-  /p/a.jpg\n" in out
    assert "  2  Two [red]x[/].\n" in out, "no markup is read from texts"


def test_the_legend_says_what_marks_mean():
    out = printed(SCORED, terminal=False)
    assert f"\n  {LEGEND}\n  + far more than most   : more than most   . like most" in out


def test_a_terminal_gets_numbers_in_colours():
    out = printed(SCORED, terminal=True)
    assert "\x1b[1;30;42m 1 \x1b[0m" in out
    assert "\x1b[9;31m4\x1b[0m" in out, "only the number is struck"


def test_lines_of_a_pipe_are_not_broken():
    name = "x" * 200 + ".jpg"
    assert f"  /p/{name}\n" in printed(answer([hit(name)]), terminal=False)


def test_the_summary_says_how_it_was_searched():
    assert printed(answer([hit("a")]), terminal=False).startswith(
        "1,200 images searched · 9 tokens (the model reads 77) · model 250 ms, search 30 ms\n"
    )
    assert "1 image searched by index · model" in printed(
        answer([hit("a")], total=1, exact=False, tokens=0), terminal=False
    )


def test_copies_are_named_as_far_as_they_are_few():
    out = printed(answer([hit("a", also="vwxyz")]), terminal=False)
    assert "the same file: v, w, x and 2 more\n" in out


@pytest.mark.parametrize(
    ("total", "empty", "says"),
    [
        (0, False, "no image satisfies the filter"),
        (0, True, "the database is empty"),
        (1, False, "no other image"),
    ],
)
def test_nothing_found(total, empty, says):
    assert says in printed(answer(total=total, empty=empty), terminal=False)


def test_names_and_notes_cannot_write_to_the_terminal():
    name = "a\x1b]0;x\x07\nb.jpg"
    found = answer([hit(name, also=[f"/q/{name}"])])
    out = printed(replace(found, notes=("\x1b[2J is gone",)), terminal=False)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "/p/a\\x1b]0;x\\x07\\nb.jpg\n" in out
    assert "the same file: /q/a\\x1b]0;x\\x07\\nb.jpg\n" in out
    assert "note: \\x1b[2J is gone\n" in out
