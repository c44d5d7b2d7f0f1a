"""Rows of text files: CSV, TSV, JSON lines and JSON lists, all read the same way.

Every value is a text, a list of texts, or None. Nothing is guessed: a caption "None", "1984" or
"true" stays what it is, and so does a number, true or false in JSON. What is no text (NaN, an
object) is None.
"""

import csv
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from longclip.data.json_files import json_lines, json_rows
from longclip.data.names import IMAGE_SUFFIXES
from longclip.data.text_files import open_text
from longclip.errors import DataError, UsageError
from longclip.util.files import atomic_path, cache_home
from longclip.util.kept_files import make_room, touch

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, str | list[str | None] | None]

_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}
"""Characters between values, the likeliest first."""

_HEADER_CHARACTERS = 1 << 16
_MAX_VALUE_CHARACTERS = 16 << 20
_MAX_COLUMNS = 1000
_ROWS_AT_ONCE = 10_000

_LARGE_BYTES = 64 << 20
"""Size from which a file is read once, into the cache: its texts then take no memory."""

_MAX_KEPT_BYTES = 20_000_000_000
"""Bytes of all files in that cache, but for the last one; those used longest ago leave first."""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, which may lack columns; one in JSON that is no object has none.

    Raises:
        DataError: if the file is damaged, as soon as that is found.
    """
    if path.suffix.lower() in _DELIMITERS:
        yield from _separated_rows(path)
        return
    with open_text(path) as file:
        is_list = file.read(_HEADER_CHARACTERS).lstrip().startswith("[")
    values = json_rows(path, _TEXT_DECODER) if is_list else json_lines(path, _TEXT_DECODER)
    for value in values:
        yield as_row(value)


def as_row(fields: Any) -> Row:
    """Return a JSON object as a row of texts, see `described`; anything else has no columns.

    `fields` has been parsed by any decoder; of one other than that of `read_rows`, numbers are
    written as Python writes them.
    """
    if not isinstance(fields, dict):
        return {}
    return {_repaired(key): _as_texts(own) for key, own in described(fields).items()}


def described(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the second turn of its `conversations` as its `long`."""
    if "conversations" not in fields:
        return fields
    _, text = picture_and_description(fields)
    others = {key: value for key, value in fields.items() if key != "conversations"}
    return others if text is None else {**others, "long": text}


def picture_and_description(row: Any) -> tuple[Any, str | None]:
    """Return the picture and the long text of a row {image, conversations}: its second turn.

    Line breaks become spaces, as in ShareGPT4V's published loader. None stands for what is not
    there: some collections have conversations about no picture.
    """
    fields = row if isinstance(row, dict) else {}
    turns = fields.get("conversations")
    turn = turns[1] if isinstance(turns, list) and len(turns) > 1 else None
    text = turn.get("value") if isinstance(turn, dict) else None
    return fields.get("image"), None if text is None else str(text).replace("\n", " ")


def read_table(path: Path) -> "pa.Table":
    """Return the rows of a file as columns.

    Those of a large file are kept on disk, in the user's cache, and read from there.

    Raises:
        DataError: if it is damaged.
    """
    import pyarrow as pa

    about = path.stat()
    if about.st_size < _LARGE_BYTES:
        return to_table(read_rows(path), path)
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    version = f"{about.st_size:x}-{about.st_mtime_ns:x}"
    try:
        kept = cache_home() / "longclip" / "rows" / f"{place}-{version}.arrow"
    except UsageError:  # a user without a home
        return to_table(read_rows(path), path)
    with suppress(OSError):  # a cache of somebody else's is used, and not kept up to date
        touch(kept)
    if not kept.is_file():
        table = to_table(read_rows(path), path)
        try:
            with (
                atomic_path(kept) as temporary,
                pa.OSFile(str(temporary), "wb") as file,
                pa.ipc.new_stream(file, table.schema) as writer,
            ):
                writer.write_table(table)
                make_room(kept.parent, "*.arrow", table.nbytes, _MAX_KEPT_BYTES)
        except OSError:  # a cache that cannot be written costs memory and nothing else
            return table
        for other in set(kept.parent.glob(f"{place}-*.arrow")) - {kept}:
            with suppress(OSError):
                other.unlink()
    return pa.ipc.open_stream(pa.memory_map(str(kept))).read_all()


def to_table(rows: Iterator[Row], place: Path) -> "pa.Table":
    """Return rows as columns of texts, or of lists of texts where a row has several.

    Raises:
        DataError: if the rows have no columns, or too many to be columns.
    """
    import pyarrow as pa

    lists = pa.list_(pa.string())
    chunks: dict[str, list[pa.Array]] = {}
    length = 0
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        for name in dict.fromkeys(key for row in some for key in row):
            chunks.setdefault(name, [pa.nulls(length, pa.string())])
        length += len(some)
        if not 0 < len(chunks) <= _MAX_COLUMNS:
            raise DataError(
                f"{place}: its rows have {len(chunks):,} columns; write each as an object with a "
                "few names"
            )
        for name, arrays in chunks.items():
            values: list[Any] = [row.get(name) for row in some]
            if all(len(value) < 2 for value in values if isinstance(value, list)):
                values = [(v or [None])[0] if isinstance(v, list) else v for v in values]
                arrays.append(pa.array(values, pa.string()))
            else:
                values = [[v] if isinstance(v, str) else v for v in values]
                arrays.append(pa.array(values, lists))
    for arrays in chunks.values():
        if any(array.type == lists for array in arrays):
            arrays[:] = [
                array
                if array.type == lists
                else pa.ListArray.from_arrays(np.arange(len(array) + 1, dtype=np.int32), array)
                for array in arrays
            ]
    return pa.table({name: pa.chunked_array(arrays) for name, arrays in chunks.items()})


_TEXT_DECODER = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name
)
"""Of JSON whose numbers are the texts that stand there, of however many digits."""


def as_text(value: Any) -> str | None:
    """Return a value as the text that stands for it in a file; None for what is no text."""
    if isinstance(value, str):
        return _repaired(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):  # a text column that was written without its type
        with suppress(UnicodeDecodeError):
            return value.decode()
    if isinstance(value, int | float | Decimal | date):
        return str(value) if value == value else None  # NaN is no text
    return None


def _as_texts(value: Any) -> str | list[str | None] | None:
    """Return a JSON value as a text, a list of texts or None."""
    if isinstance(value, list):
        return [as_text(own) for own in value]
    # A picture as `datasets` writes it.
    return as_text(value["path"] if isinstance(value, dict) and "path" in value else value)


def _repaired(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _separated_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV or TSV file, whose first line names the columns."""
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_VALUE_CHARACTERS))
    with open_text(path) as file:
        reader = _csv_reader(path, file)
        try:
            header = [name.strip() for name in _first_line(reader)]
            while header and not header[-1]:  # separators behind the last column, as of Excel
                header.pop()
            _check_header(path, header)
            for row in reader:
                if not any(row):
                    continue
                if any(value.strip() for value in row[len(header) :]):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} values, and the first line "
                        f"names {len(header)} columns ({', '.join(header)}); put a text that "
                        'holds the separator in double quotes, as in a.jpg,"A dog, asleep"'
                    )
                absent = [None] * (len(header) - len(row))
                yield dict(zip(header, [*row, *absent], strict=False))
        except csv.Error as error:
            raise DataError(
                f"{path}, line {reader.line_num} cannot be read ({error}); double the quotes "
                "inside a quoted text, and close it"
            ) from None


def _first_line(reader: Iterator[list[str]]) -> list[str]:
    """Return the first line that is not blank; no names where there is none."""
    return next((line for line in reader if any(map(str.strip, line))), [])


def _csv_reader(path: Path, file: TextIO) -> Any:
    """Return a reader of the file: the separator is what cuts the first line into most columns."""
    start = file.read(_HEADER_CHARACTERS).lstrip()
    file.seek(0)

    def columns(delimiter: str) -> int:
        try:
            return len(next(csv.reader(StringIO(start), delimiter=delimiter), []))
        except csv.Error:
            return 0

    delimiter = max(_DELIMITERS[path.suffix.lower()], key=columns)
    is_quoted = True
    if delimiter == "\t":
        # Most programs write quotes as they are into a file with tabs; some quote as in CSV. But
        # a value of several lines with tabs is rows between two quotes that are nothing but quotes.
        try:
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            is_quoted = not any("\t" in value and "\n" in value for row in rows for value in row)
        except csv.Error:
            is_quoted = False
        file.seek(0)
    return csv.reader(
        file,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE,
        skipinitialspace=True,
        strict=True,
    )


def _check_header(path: Path, header: list[str]) -> None:
    """Raise DataError where a first line names no columns, or two the same."""
    if any(name.lower().endswith(tuple(IMAGE_SUFFIXES)) for name in header):
        raise DataError(
            f"{path}: the first line ({', '.join(header)}) is a row; put one before it that names "
            "the columns, such as image,short,long"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}: the first line names {', '.join(map(repr, twice))} twice; give each column a "
            "name of its own"
        )
