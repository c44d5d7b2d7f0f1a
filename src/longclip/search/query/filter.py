"""Filters: a small language of conditions on what is known of images.

    filter = all { OR all }        all = not { AND not }        not = [NOT] test | [NOT] ( filter )
    test   = COLUMN compare VALUE | VALUE compare COLUMN | COLUMN compare COLUMN
           | COLUMN [NOT] IN (VALUE, …) | COLUMN [NOT] BETWEEN VALUE AND VALUE
           | COLUMN [NOT] LIKE TEXT | COLUMN [NOT] ILIKE TEXT | COLUMN IS [NOT] NULL

It looks like SQL and means the same, but nothing that a user writes reaches the database: a filter
is read here, and what is asked of the database is written anew. So no filter can call a function,
and none costs more than the bounds below allow. A text that is equal to another, or like it, is so
however accented letters are written (composed or not).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from difflib import get_close_matches
from math import isinf
from typing import Literal

import pyarrow as pa

from longclip.errors import FilterError
from longclip.search.database.lance import quoted
from longclip.search.database.schema import FACTS, schema
from longclip.util.unicode import unicode_forms

MAX_CHARACTERS = 10_000
"""Characters of a filter."""

MAX_TESTS = 100
"""Tests in a filter: each of them is made of each image."""

MAX_VALUES = 1000
"""Values in all lists of a filter together."""

MAX_DEPTH = 16
"""Parentheses within one another; the database's own parser stops at some 40."""

MAX_PATTERN_CHARACTERS = 200
"""Characters of a pattern of LIKE, of which some cost one step for each character of a text."""

_MAX_SHOWN_CHARACTERS = 120
"""Characters of a filter that an error repeats."""

EXAMPLE = "width > 1000 AND (camera LIKE 'Nikon%' OR taken >= '2024-05-01')"
HELP = (
    f"A filter is, for example: {EXAMPLE}. Columns: {', '.join(FACTS)}. Tests: = != < <= > >=, "
    "IN ('a', 'b'), BETWEEN 1 AND 9, LIKE '%sea%', IS NULL; joined by AND, OR, NOT and parentheses"
)

_Kind = Literal["text", "whole number", "number", "time"]


@dataclass(frozen=True)
class _Column:
    name: str
    kind: _Kind
    bits: int = 64

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest number of a column of whole numbers."""
        # The database reads the least of all as a minus before a number that is too large.
        return -(2 ** (self.bits - 1)) + 1, 2 ** (self.bits - 1) - 1


@dataclass(frozen=True)
class _Value:
    content: str | Decimal | datetime


def _column(field: pa.Field) -> _Column:
    if pa.types.is_integer(field.type):
        return _Column(field.name, "whole number", field.type.bit_width)
    if pa.types.is_floating(field.type):
        return _Column(field.name, "number")
    return _Column(field.name, "time" if pa.types.is_timestamp(field.type) else "text")


COLUMNS = {name: _column(schema(1, {}).field(name)) for name in ("id", *FACTS)}
"""What filters may ask for."""

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^']|'')*+')
    | (?P<moment>(?i:date|timestamp)\s*+'[^']*+')
    | (?P<number>[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?(?!\w))
    | (?P<name>[^\W\d]\w*+|"[^"]*+"|`[^`]*+`)
    | (?P<sign>==|!=|<>|<=|>=|[=<>(),])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[+-]?[\d.]{1,40}(?:[eE][+-]?\d{1,3})?")
_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_KEYWORDS = {"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ILIKE", "IS", "NULL"}


def compile_filter(where: str) -> str:
    """Return a filter as a condition for the database.

    Raises:
        FilterError: where it is no filter; says what is wrong, and how filters are written.
    """
    return _Compiler(where).compile()


def read_date(date: str) -> datetime:
    """Return the moment that `2024`, `2024-05`, `2024-05-31` or one with a time begins with.

    Raises:
        FilterError: where it is none.
    """
    whole = re.sub(r"^(\d{4})$", r"\1-01", date)
    whole = re.sub(r"^(\d{4}-\d\d)$", r"\1-01", whole)
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError as error:
        shown = date if len(date) <= _MAX_SHOWN_CHARACTERS else f"{date[:_MAX_SHOWN_CHARACTERS]}…"
        raise FilterError(
            f"{shown!r} is no date; write 2024, 2024-05, 2024-05-31 or 2024-05-31T18:30"
        ) from error
    # Cameras write the time of the place, so an offset has nothing to be compared with.
    return moment.replace(tzinfo=None)


def timestamp(moment: datetime) -> str:
    """Write a moment as the database reads it."""
    return f"timestamp {quoted(moment.isoformat(' '))}"


def check_encodable(text: str, name: str) -> None:
    """Refuse half characters (lone surrogates), which the database cannot be asked for."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(
            f"{name} holds half a character, {text[error.start]!a}, which no text of the "
            "database has; leave it out"
        ) from error


class _Compiler:
    """Reads a filter from left to right, and writes its condition.

    NOT is carried inwards to the tests, each of which has an opposite: that is exact in SQL's logic
    of three values, and leaves the database few nested parentheses to read.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._start = self._next = 0
        self._tests = self._values = self._depth = 0
        self._kind = self._token = ""

    def compile(self) -> str:
        if len(self._where) > MAX_CHARACTERS:
            raise self._error(
                f"it has {len(self._where):,} characters, of at most {MAX_CHARACTERS:,}"
            )
        check_encodable(self._where, "the filter")
        self._advance()
        condition = self._any(negated=False)
        if self._kind != "end":
            raise self._misplaced("AND, OR or the end should stand")
        return condition

    # Tokens.

    def _advance(self) -> None:
        found = _TOKEN.match(self._where, self._next)
        if found is None:
            rest = self._where[self._next :].lstrip()
            self._start = len(self._where) - len(rest)
            if rest[0] == "'":
                raise self._error("this text has no closing '", at=self._start)
            raise self._error(f"no filter has {rest.split()[0][:20]!r}", at=self._start)
        self._kind = found.lastgroup or ""
        self._token, self._start, self._next = (
            found[self._kind],
            found.start(self._kind),
            found.end(),
        )

    def _is_word(self, *words: str) -> bool:
        return self._kind == "name" and self._token.upper() in words

    def _took(self, *words: str) -> bool:
        """Go on if the next token is one of these words or signs."""
        is_next = self._is_word(*words) or (self._kind == "sign" and self._token in words)
        if is_next:
            self._advance()
        return is_next

    def _expect(self, word: str) -> None:
        if not self._took(word):
            raise self._misplaced(f"{word} should stand")

    def _misplaced(self, wanted: str) -> FilterError:
        found = "it ends" if self._kind == "end" else f"{self._token[:20]!r} stands"
        return self._error(f"{found} where {wanted}", at=self._start)

    def _error(self, reason: str, at: int | None = None) -> FilterError:
        shown = self._where.strip()
        if len(shown) > _MAX_SHOWN_CHARACTERS:
            shown = f"{shown[:_MAX_SHOWN_CHARACTERS]}…"
        place = "" if at is None else f" (character {at + 1})"
        return FilterError(f"the filter {shown!r} cannot be read: {reason}{place}. {HELP}")

    # AND, OR, NOT.

    def _any(self, *, negated: bool) -> str:
        parts = [self._all(negated=negated)]
        while self._took("OR"):
            parts.append(self._all(negated=negated))
        return parts[0] if len(parts) == 1 else f"({(' AND ' if negated else ' OR ').join(parts)})"

    def _all(self, *, negated: bool) -> str:
        parts = [self._not(negated=negated)]
        while self._took("AND"):
            parts.append(self._not(negated=negated))
        return parts[0] if len(parts) == 1 else f"({(' OR ' if negated else ' AND ').join(parts)})"

    def _not(self, *, negated: bool) -> str:
        while self._took("NOT"):
            negated = not negated
        if not self._took("("):
            return self._test(negated=negated)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(
                f"more than {MAX_DEPTH} parentheses lie within one another", at=self._start
            )
        inner = self._any(negated=negated)
        self._expect(")")
        self._depth -= 1
        return inner

    # Tests.

    def _test(self, *, negated: bool) -> str:
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise self._error(f"it has more than {MAX_TESTS} tests; a list after IN counts as one")
        begin, left = self._start, self._operand("a column")
        if isinstance(left, _Column):
            if self._took("IS"):
                negated ^= self._took("NOT")
                self._expect("NULL")
                return f"{left.name} IS {'NOT ' if negated else ''}NULL"
            denied = self._took("NOT")
            negated ^= denied
            if self._took("IN"):
                return self._in(left, negated=negated)
            if self._took("BETWEEN"):
                return self._between(left, negated=negated)
            if self._is_word("LIKE", "ILIKE"):
                return self._like(left, negated=negated)
            if denied:
                raise self._misplaced("IN, BETWEEN or LIKE should stand")
        if self._kind != "sign" or self._token in "(),":
            raise self._misplaced("a comparison should stand")
        sign = {"==": "=", "<>": "!="}.get(self._token, self._token)
        self._advance()
        start, right = self._start, self._operand("a value")
        if isinstance(left, _Value):
            if isinstance(right, _Value):
                raise self._error("it compares two values, and no column", at=begin)
            left, right, sign, start = right, left, _MIRRORED[sign], begin
        sign = _OPPOSITE[sign] if negated else sign
        if isinstance(right, _Value):
            return self._compared(left, sign, right, start)
        if left.kind.split()[-1] != right.kind.split()[-1]:
            raise self._error(
                f"{left.name} is a {left.kind}, {right.name} a {right.kind}", at=begin
            )
        return f"{left.name} {sign} {right.name}"

    def _in(self, column: _Column, *, negated: bool) -> str:
        self._expect("(")
        written: list[str] = []
        while True:
            self._values += 1
            if self._values > MAX_VALUES:
                raise self._error(f"its lists have more than {MAX_VALUES:,} values")
            start, value = self._start, self._value()
            checked = self._checked(column, value, start)
            if isinstance(value.content, str) and column.kind == "text":
                written += map(quoted, unicode_forms(value.content))
            elif column.kind != "whole number" or self._is_possible(column, value):
                written.append(checked)
            if not self._took(","):
                break
        self._expect(")")
        if not written:
            return self._never(column, negated=negated)
        return f"{column.name} {'NOT ' if negated else ''}IN ({', '.join(written)})"

    def _between(self, column: _Column, *, negated: bool) -> str:
        start, least = self._start, self._value()
        self._expect("AND")
        end, most = self._start, self._value()
        signs = ("<", ">", "OR") if negated else (">=", "<=", "AND")
        low = self._compared(column, signs[0], least, start)
        return f"({low} {signs[2]} {self._compared(column, signs[1], most, end)})"

    def _like(self, column: _Column, *, negated: bool) -> str:
        word = self._token.upper()
        if column.kind != "text":
            raise self._error(
                f"{column.name} is a {column.kind}, and {word} takes a text", at=self._start
            )
        self._advance()
        start, value = self._start, self._value()
        if not isinstance(value.content, str):
            raise self._error(f"{word} takes a text in '…'", at=start)
        if len(value.content) > MAX_PATTERN_CHARACTERS:
            raise self._error(
                f"a pattern has at most {MAX_PATTERN_CHARACTERS} characters", at=start
            )
        # A backslash takes % _ \ as they are; before any other character it is one itself.
        pattern = re.sub(r"\\[%_\\]|\\", lambda found: found[0].ljust(2, "\\"), value.content)
        sign, joint = (f"NOT {word}", " AND ") if negated else (word, " OR ")
        parts = [f"{column.name} {sign} {quoted(form)}" for form in unicode_forms(pattern)]
        return parts[0] if len(parts) == 1 else f"({joint.join(parts)})"

    def _compared(self, column: _Column, sign: str, value: _Value, at: int) -> str:
        written = self._checked(column, value, at)
        if column.kind == "whole number":
            return self._whole(column, sign, value)
        forms = unicode_forms(value.content) if isinstance(value.content, str) else []
        if column.kind == "text" and len(forms) > 1 and sign in ("=", "!="):
            any_form = f"IN ({', '.join(map(quoted, forms))})"
            return f"{column.name} {'NOT ' if sign == '!=' else ''}{any_form}"
        return f"{column.name} {sign} {written}"

    # Operands.

    def _operand(self, wanted: str) -> _Column | _Value:
        if self._kind == "name" and not self._is_word(*_KEYWORDS):
            name = self._token.strip('"`').lower()
            if name not in COLUMNS:
                near = get_close_matches(name, COLUMNS, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                if self._token[0] == '"':
                    hint = "; a text stands in single quotes"
                raise self._error(f"there is no column {self._token[:40]}{hint}", at=self._start)
            self._advance()
            return COLUMNS[name]
        return self._value(wanted)

    def _value(self, wanted: str = "a value") -> _Value:
        token, start = self._token, self._start
        if self._kind == "moment":
            moment = self._moment(token[token.index("'") + 1 : -1], start)
            self._advance()
            return _Value(moment)
        if self._kind == "text":
            self._advance()
            return _Value(token[1:-1].replace("''", "'"))
        if self._kind == "number":
            if not _NUMBER.fullmatch(token) or isinf(float(token)):
                raise self._error(f"the number {token[:20]}… is too large", at=start)
            self._advance()
            return _Value(Decimal(token))
        if self._is_word("NULL"):
            raise self._error("nothing equals NULL; write COLUMN IS NULL", at=start)
        raise self._misplaced(f"{wanted} should stand")

    def _moment(self, date: str, at: int) -> datetime:
        try:
            return read_date(date)
        except FilterError as error:
            raise self._error(str(error), at=at) from error

    def _checked(self, column: _Column, value: _Value, at: int) -> str:
        """Return a value as the database reads it; refuse one that its column cannot have."""
        content = value.content
        if column.kind == "time":
            if isinstance(content, str):
                content = self._moment(content, at)
            if isinstance(content, datetime):
                return timestamp(content)
        elif column.kind == "text":
            if isinstance(content, str):
                return quoted(content)
        elif isinstance(content, Decimal):
            return repr(float(content)) if column.kind == "number" else str(int(content))
        wanted = {"text": "a text: 'Nikon'", "time": "a date: '2024-05-31'"}
        raise self._error(f"{column.name} takes {wanted.get(column.kind, 'a number: 1000')}", at=at)

    # Whole numbers, which the database compares with its own kind alone.

    def _is_possible(self, column: _Column, value: _Value) -> bool:
        number, (least, most) = value.content, column.bounds
        assert isinstance(number, Decimal)
        return least <= number <= most and number == number.to_integral_value()

    def _never(self, column: _Column, *, negated: bool) -> str:
        """Return a test that no number passes, or each; NULL neither."""
        least, _ = column.bounds
        return f"{column.name} {'>=' if negated else '<'} {least}"

    def _whole(self, column: _Column, sign: str, value: _Value) -> str:
        number, (least, most) = value.content, column.bounds
        assert isinstance(number, Decimal)
        if sign in ("=", "!="):
            if self._is_possible(column, value):
                return f"{column.name} {sign} {int(number)}"
            return self._never(column, negated=sign == "!=")
        # Of `< 1.5` and `<= 1.5` the nearest whole numbers that say the same are 2 and 1.
        up = sign in ("<", ">=")
        bound = number.to_integral_value(ROUND_CEILING if up else ROUND_FLOOR)
        if bound > most:
            return self._never(column, negated=sign in ("<", "<="))
        if bound < least:
            return self._never(column, negated=sign in (">", ">="))
        return f"{column.name} {sign} {int(bound)}"
