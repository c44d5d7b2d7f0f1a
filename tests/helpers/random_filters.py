"""Filters at random, with a slow and obvious evaluation of each, and broken ones."""

import re
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

from longclip.errors import FilterError
from longclip.search.database.schema import Facts, ImageRow
from longclip.search.database.store import Store
from longclip.search.query.query import Query
from tests.helpers.databases import row, vectors

Truth = bool | None
Predicate = Callable[[Facts], Truth]

TEXTS = (
    "",
    "a",
    "A",
    "ab",
    "a_b",
    "a%b",
    "it's",
    "é\\",
    "É",
    "Nikon D90",
    "a\nb",
    "日本",
    "\\",
    "a\\%",
)
NUMBERS = (0, 1, -1, 2, 1000, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 10**30, 0.5, 1.5, -33.9, 1e-7)
DATES = (
    "2024",
    "2024-05",
    "2024-05-31",
    "2024-05-31T18:30",
    "0001-01-01",
    "9999-12-31",
    "1999-12-31 23:59:59.5",
)
TEXT_COLUMNS = ("name", "folder", "camera", "caption", "uri", "format")
NUMBER_COLUMNS = ("width", "height", "bytes", "mtime_ns", "latitude", "longitude")
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS, "taken")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def table_rows() -> list[ImageRow]:
    rng = Random(0)

    def maybe(values: tuple[Any, ...]) -> Any:
        return rng.choice((None, *values))

    return [
        row(
            f"/{folder}/{i}-{rng.choice(TEXTS)}",
            vector,
            folder=f"/{folder}",
            name=rng.choice(TEXTS),
            camera=maybe(TEXTS),
            caption=maybe(TEXTS),
            format=rng.choice(("JPEG", "PNG")),
            bytes=rng.choice((0, 1, 1000, 2**31, 2**63 - 1)),
            mtime_ns=rng.choice((-1, 0, 1)),
            width=rng.choice((0, 1, 2, 1000, 2**31 - 1)),
            height=rng.choice((0, 1, 2, 1000)),
            latitude=maybe((0.0, -33.9, 1e-7, 1000.0)),
            longitude=maybe((0.0, 151.2, -33.9)),
            taken=maybe(tuple(map(moment, DATES))),
        )
        for i, vector in enumerate(vectors(40))
        for folder in [rng.choice(("a", "a_b", "a%b", "it's"))]
    ]


def moment(date: str) -> datetime:
    year, month, day = (*date.split("T")[0].split(" ")[0].split("-"), "1", "1")[:3]
    time = re.search(r"(\d+):(\d+)(?::(\d+)\.(\d))?$", date)
    hour, minute, second, tenth = (int(part or 0) for part in time.groups()) if time else (0,) * 4
    return datetime(int(year), int(month), int(day), hour, minute, second, tenth * 100_000)


def random_filter(rng: Random, depth: int = 3) -> tuple[str, Predicate]:
    """A filter, and what it says of an image: true, false, or None where that is not known."""
    kind = rng.random()
    if depth == 0 or kind < 0.35:
        return _test(rng)
    if kind < 0.5:
        text, inner = random_filter(rng, depth - 1)
        return _spaced(rng, "NOT", f"({text})"), lambda facts: _not(inner(facts))
    parts = [random_filter(rng, depth - 1) for _ in range(rng.randint(2, 4))]
    predicates = [predicate for _, predicate in parts]
    word = rng.choice(("AND", "OR"))
    text = f" {_cased(rng, word)} ".join(f"({part})" for part, _ in parts)
    stops = word == "OR"

    def joined(facts: Facts) -> Truth:
        found = [predicate(facts) for predicate in predicates]
        return stops if stops in found else None if None in found else not stops

    return text, joined


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _cased(rng: Random, word: str) -> str:
    return rng.choice((word, word.lower(), word.title()))


def _spaced(rng: Random, *words: str) -> str:
    return rng.choice((" ", "  ", "\n", "\t ")).join(
        _cased(rng, w) if w.isalpha() else w for w in words
    )


def _literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else f"{value}"


def _value(rng: Random, column: str) -> tuple[str, Any]:
    if column == "taken":
        date = rng.choice(DATES)
        return rng.choice(("", "timestamp ", "DATE")) + _literal(date), moment(date)
    value = rng.choice(TEXTS if column in TEXT_COLUMNS else NUMBERS)
    return _literal(value), value


def _test(rng: Random) -> tuple[str, Predicate]:
    column = rng.choice(COLUMNS)
    shown = rng.choice((column, column.upper(), f'"{column}"', f"`{column}`"))
    kind = rng.choice(
        ("compare", "compare", "mirrored", "columns", "in", "between", "like", "null")
    )
    negated = rng.random() < 0.3
    no = _cased(rng, "NOT ") if negated else ""

    def answered(of: Callable[[Any], bool]) -> Predicate:
        def predicate(facts: Facts) -> Truth:
            found = getattr(facts, column)
            return None if found is None else of(found) is not negated

        return predicate

    if kind == "null":
        return (
            f"{shown} {_cased(rng, 'IS')} {no}{_cased(rng, 'NULL')}",
            lambda facts: (getattr(facts, column) is None) is not negated,
        )
    if kind == "in":
        listed = [_value(rng, column) for _ in range(rng.randint(1, 4))]
        values = [value for _, value in listed]
        text = f"{shown} {no}IN ({', '.join(each for each, _ in listed)})"
        return text, answered(lambda found: found in values)
    if kind == "between":
        (first, least), (second, most) = _value(rng, column), _value(rng, column)
        text = f"{shown} {no}BETWEEN {first} AND {second}"
        return text, answered(lambda found: least <= found <= most)
    if kind == "like" and column in TEXT_COLUMNS:
        word = rng.choice(("LIKE", "ILIKE"))
        pattern = "".join(rng.choice(("a", "A", "b", "%", "_", "\\", "é", "'")) for _ in range(5))
        parts = (
            ".*" if part == "%" else "." if part == "_" else re.escape(part[-1])
            for part in re.findall(r"\\[%_\\]|[^\\]|\\", pattern)
        )
        flags = re.DOTALL | (re.IGNORECASE if word == "ILIKE" else 0)
        compiled = re.compile("".join(parts), flags)
        text = f"{shown} {no}{word} {_literal(pattern)}"
        return text, answered(lambda found: compiled.fullmatch(found) is not None)
    sign = rng.choice(list(SIGNS))
    compare = SIGNS[sign]
    if kind == "columns":
        alike = next(
            group for group in (TEXT_COLUMNS, NUMBER_COLUMNS, ("taken",)) if column in group
        )
        other = rng.choice(alike)

        def both(facts: Facts) -> Truth:
            pair = getattr(facts, column), getattr(facts, other)
            return None if None in pair else compare(*pair)

        return f"{shown} {sign} {other}", both
    negated = False
    literal, value = _value(rng, column)
    if kind == "mirrored":
        return f"{literal} {sign} {shown}", answered(lambda found: compare(value, found))
    return f"{shown} {sign} {literal}", answered(lambda found: compare(found, value))


_PIECES = (
    *("(", ")", "'", '"', ",", "AND", "OR", "NOT", "IN", "LIKE", "NULL", "BETWEEN", ";", "--"),
    *("/*", "repeat('a', 1000000000)", "1e999", "9" * 500, "'a", "((((" * 9, "\x00", "\ud800", "é"),
    *(
        "sha256(name)",
        "name",
        "width",
        "thumbnail",
        "1",
        " = ",
        "||",
        "::text",
        "SELECT",
        "\\",
        "%",
    ),
    *("regexp_match(name, '(a*)*b')", "cast(", "*", "+", "case when", "true", "[", "{", "$1", "@"),
)


def broken(rng: Random, filter: str) -> str:
    """A filter with some of its characters gone, doubled, or something strange among them."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(filter) + 1)
        end = min(len(filter), at + rng.randint(0, 6))
        kind = rng.randrange(4)
        if kind == 0:
            filter = filter[:at] + filter[end:]
        elif kind == 1:
            filter = filter[:at] + rng.choice(_PIECES) + filter[at:]
        elif kind == 2:
            filter = filter[:at] + filter[at:end] * rng.choice((2, 3, 2000)) + filter[end:]
        else:
            filter = (
                filter[:at]
                + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000))))
                + filter[end:]
            )
    return filter


def check_filter(store: Store, rows: list[ImageRow], seed: int) -> bool:
    """Compare what a filter finds with its evaluation; then break it, which nothing may break.

    Returns:
        Whether the broken one was refused; it may be a filter all the same.
    """
    rng = Random(seed)
    where, predicate = random_filter(rng)
    expected = {each.facts.uri for each in rows if predicate(each.facts) is True}
    condition = Query("a", where=where).condition()
    assert condition is not None
    found = {uri for batch in store.scan(["uri"], where=condition) for uri in batch[0].to_pylist()}
    assert found == expected, f"seed {seed}: {where!r} became {condition!r}"
    query, said = Query("a", where=broken(rng, where)), ""
    try:
        condition = query.condition()
    except FilterError as error:
        said = str(error)
    assert len(said) < 1000, seed
    if not said:
        store.count(condition)
    return bool(said)
