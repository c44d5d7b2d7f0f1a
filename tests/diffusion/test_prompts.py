"""Emphasis as the web UI reads it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.diffusion.emphasis import Piece, parse_prompt
from longclip.errors import UsageError


def pieces(prompt: str) -> list[tuple[str, float]]:
    """Return the pieces of a prompt without BREAK."""
    (section,) = parse_prompt(prompt)
    return [(piece.text, piece.weight) for piece in section]


def texts(prompt: str) -> list[str]:
    """The text of each section."""
    return ["".join(piece.text for piece in section) for section in parse_prompt(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [("a cat", 1)]),
        ("", []),
        ("(cat)", [("cat", 1.1)]),
        ("((cat))", [("cat", 1.21)]),
        ("[cat]", [("cat", 1 / 1.1)]),
        ("[[cat]]", [("cat", 1 / 1.21)]),
        ("([cat])", [("cat", 1)]),
        ("a (big cat:1.3), sits", [("a ", 1), ("big cat", 1.3), (", sits", 1)]),
        ("(cat:0)", [("cat", 0)]),
        ("(cat:-0.5)", [("cat", -0.5)]),
        ("(cat:+2)", [("cat", 2)]),
        ("(cat:.5)", [("cat", 0.5)]),
        ("(cat:2.)", [("cat", 2)]),
        ("(cat: 1.3 )", [("cat", 1.3)]),
        # Written weights multiply; in ComfyUI the inner one would replace the outer one.
        ("((cat:1.3))", [("cat", 1.43)]),
        ("((cat:2) dog:3)", [("cat", 6), (" dog", 3)]),
        ("(a (b) [c]:2)", [("a ", 2), ("b", 2.2), (" ", 2), ("c", 2 / 1.1)]),
        # Only a number right before a round bracket is a weight.
        ("time 12:30 (noon)", [("time 12:30 ", 1), ("noon", 1.1)]),
        ("(ratio 1:2 wide)", [("ratio 1:2 wide", 1.1)]),
        ("(cat:1.2.3)", [("cat:1.2.3", 1.1)]),
        ("(cat:big)", [("cat:big", 1.1)]),
        ("[cat:1.3]", [("cat:1.3", 1 / 1.1)]),
        # What escapes nothing stays.
        (r"\(cat\)", [("(cat)", 1)]),
        (r"saber \(fate:1.3\)", [("saber (fate:1.3)", 1)]),
        (r"(saber \(fate\):1.2)", [("saber (fate)", 1.2)]),
        (r"\[cat\]", [("[cat]", 1)]),
        (r"\\(cat)", [("\\", 1), ("cat", 1.1)]),
        (r"C:\cats\n", [(r"C:\cats\n", 1)]),
        # Brackets that nobody closed, or opened.
        ("a (cat", [("a ", 1), ("cat", 1.1)]),
        ("a ((cat) dog", [("a ", 1), ("cat", 1.21), (" dog", 1.1)]),
        ("[cat", [("cat", 1 / 1.1)]),
        ("cat) dog", [("cat) dog", 1)]),
        ("cat] dog", [("cat] dog", 1)]),
        ("cat:1.3) dog", [("cat:1.3) dog", 1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)]),
        ("()", []),
        # Neighbours of one weight are one text.
        ("(a)(b)", [("ab", 1.1)]),
        ("foo(bar:1)", [("foobar", 1)]),
    ],
)
def test_weights(prompt: str, expected: list[tuple[str, float]]) -> None:
    found = pieces(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat BREAK a dog", ["a cat", "a dog"]),
        ("a cat\nBREAK\na dog", ["a cat", "a dog"]),
        ("a cat,BREAK,a dog", ["a cat,", ",a dog"]),
        ("a BREAK b BREAK c", ["a", "b", "c"]),
        ("a BREAKFAST, a break, a Break", ["a BREAKFAST, a break, a Break"]),
        # As in the web UI: a window per BREAK, but none for nothing at the end.
        ("BREAK a", ["", "a"]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("a BREAK", ["a"]),
        ("a BREAK \n", ["a"]),
        ("BREAK", [""]),
        ("", [""]),
        (" ", [" "]),
    ],
)
def test_breaks(prompt: str, expected: list[str]) -> None:
    assert texts(prompt) == expected


def test_weights_go_on_over_a_break() -> None:
    assert parse_prompt("(a BREAK b:1.5) c") == (
        (Piece("a", 1.5),),
        (Piece("b", 1.5), Piece(" c")),
    )


@pytest.mark.parametrize(
    ("prompt", "weight"),
    [("(" * 73 + "cat", "1051.15"), ("(cat:-1001)", "-1001"), (f"(cat:{'9' * 400})", "inf")],
)
def test_weights_end_at_a_thousand(prompt: str, weight: str) -> None:
    with pytest.raises(UsageError, match=f"gives 'cat' the weight {weight}; .* take brackets away"):
        parse_prompt(prompt)


def test_brackets_of_any_depth_are_read_while_the_weight_is_within_bounds() -> None:
    deep = 20_000
    assert pieces("([" * 60 + "cat" + "])" * 60) == [("cat", pytest.approx(1))]
    assert pieces("[" * deep + "cat" + "]" * deep) == [("cat", pytest.approx(0))]
    assert pieces("(" * deep + ")" * deep + "cat") == [("cat", 1)]
    assert pieces(r"\(" * deep) == [("(" * deep, 1)]


@pytest.mark.parametrize("prompt", [" " * 100_000, ":" + "1" * 100_000, "\n" * 100_000 + "BREAK?"])
def test_long_runs_of_one_character_are_read_once(prompt: str) -> None:
    """Each way to share out such a run between two parts of a pattern would take minutes."""
    assert texts(prompt) == ([prompt] if "B" not in prompt else ["", "?"])


@given(st.text())
def test_text_without_marks_stays(text: str) -> None:
    for mark in ("(", ")", "[", "]", "\\", "BREAK"):
        text = text.replace(mark, "")
    assert pieces(text) == ([(text, 1)] if text else [])


@given(st.text(alphabet="ab :.12()[]\\"))
def test_anything_is_read(prompt: str) -> None:
    """Whatever is typed, its words come through, in order."""
    kept = "".join(text for text, _ in pieces(prompt))
    assert [c for c in kept if c in "ab"] == [c for c in prompt if c in "ab"]


@dataclass(frozen=True)
class Node:
    """A bracket around other brackets and letters; the letters tell their weight by themselves."""

    opens: str
    closes: str
    factor: float
    children: tuple["Node | str", ...]

    def written(self) -> str:
        inner = "".join(c if isinstance(c, str) else c.written() for c in self.children)
        return f"{self.opens}{inner}{self.closes}"

    def weights(self, outer: float = 1) -> list[float]:
        """Return the weight of every letter, by going through all brackets around it."""
        own = outer * self.factor
        return [
            weight
            for child in self.children
            for weight in ([own] * len(child) if isinstance(child, str) else child.weights(own))
        ]


KINDS = st.sampled_from([("(", ")", 1.1), ("[", "]", 1 / 1.1), ("(", ":1.5)", 1.5), ("", "", 1.0)])
TREES = st.recursive(
    st.text("xyz", min_size=1, max_size=3),
    lambda inner: st.builds(
        lambda kind, children: Node(*kind, tuple(children)),
        KINDS,
        st.lists(inner, min_size=1, max_size=4),
    ),
)


@given(st.lists(TREES, max_size=4))
def test_nested_brackets_multiply(trees: list[Node | str]) -> None:
    whole = Node("", "", 1, tuple(trees))
    found = [weight for text, weight in pieces(whole.written()) for _ in text]
    assert found == pytest.approx(whole.weights())
