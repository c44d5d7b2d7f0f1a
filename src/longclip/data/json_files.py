"""JSON and JSON-lines files, with messages that name the file and the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from longclip.data.text_files import open_text, read_text
from longclip.errors import DataError

_READ_CHARACTERS = 1 << 20
_MAX_ROW_CHARACTERS = 16 << 20
"""Length at which a row that cannot be parsed is damaged rather than not yet read to its end."""

_DECODER = json.JSONDecoder()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raise DataError where it is damaged."""
    return parse_json(read_text(path), str(path))


def parse_json(
    text: str, path: str, line: int | None = None, decoder: json.JSONDecoder = _DECODER
) -> Any:
    """Return the content of a file or of one of its lines; raise DataError where it is damaged."""
    place = path if line is None else f"{path}, line {line},"
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:  # ValueError is also a number of 4,301 digits
        if line is not None and isinstance(error, RecursionError):
            raise DataError(f"{path}: a row is nested too deeply; mend it") from None
        raise DataError(f"{place} is damaged JSON ({error}); copy or download it again") from None


def json_lines(path: Path, decoder: json.JSONDecoder = _DECODER) -> Iterator[Any]:
    """Yield what the lines of a file hold; blank ones are passed over."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield parse_json(line, str(path), number, decoder)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file with one JSON object a line."""
    return list(json_lines(path))


def _pieces(file: TextIO) -> Iterator[str]:
    return iter(lambda: file.read(_READ_CHARACTERS), "")


def json_rows(path: Path, decoder: json.JSONDecoder = _DECODER) -> Iterator[Any]:
    """Yield the items of a JSON array one after the other, without the whole of it in memory.

    Raises:
        DataError: if it is no array, or damaged; not before what precedes the damage is read.
    """
    number = 0
    with open_text(path) as file:
        text = file.read(_READ_CHARACTERS).lstrip()
        if not text.startswith("["):
            raise DataError(f"{path} is not a JSON list; copy or download it again")
        at = 1
        while True:
            while at < len(text) and text[at] in ", \t\r\n":
                at += 1
            if text[at : at + 1] == "]":
                if text[at + 1 :].strip() or any(more.strip() for more in _pieces(file)):
                    raise DataError(
                        f"{path} goes on behind its list of {number:,} rows; lists that were "
                        "joined have to be one, and other files are copied again"
                    )
                return
            try:
                row, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                # Either the row goes on in the next piece or it is damaged.
                more = file.read(_READ_CHARACTERS) if len(text) - at < _MAX_ROW_CHARACTERS else ""
                if not more:
                    raise DataError(
                        f"{path} is damaged after row {number} ({error.msg}); "
                        "copy or download it again"
                    ) from None
                text, at = text[at:] + more, 0
                continue
            except (ValueError, RecursionError) as error:
                too_deep = isinstance(error, RecursionError)
                reason = "a row is nested too deeply" if too_deep else error
                raise DataError(f"{path} is damaged after row {number} ({reason})") from None
            yield row
            number += 1
