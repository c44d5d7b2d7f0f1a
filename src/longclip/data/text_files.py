"""Text files in the encodings that programs write: UTF-8 and UTF-16, with or without a mark."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from longclip.errors import DataError
from longclip.util.regular_files import open_regular

_MARKS = (  # the longer one first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_START_BYTES = 4096
"""Bytes from which the encoding of a file is told."""


def encoding_of(start: bytes) -> str:
    """Return the encoding of a text by its mark, or by the zero bytes of UTF-16; else UTF-8."""
    found = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if found is None and len(start) > 1:
        half = len(start) // 4
        if start[1::2].count(0) > half:
            found = "utf-16-le"
        elif start[::2].count(0) > half:
            found = "utf-16-be"
    return found or "utf-8-sig"


def decode_text(content: bytes) -> str:
    """Return a text that may be damaged; what cannot be decoded becomes U+FFFD."""
    return content.decode(encoding_of(content[:_START_BYTES]), errors="replace")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading; all kinds of line ends become one.

    Raises:
        DataError: if it cannot be read, also where it turns out on the way that it is no text.
    """
    try:
        with open_regular(path) as file:
            encoding = encoding_of(file.read(_START_BYTES))
            file.seek(0)
            with TextIOWrapper(file, encoding=encoding) as text:
                yield text
    except UnicodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error}); save it as UTF-8, or copy it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; copy it again") from None


def read_text(path: Path) -> str:
    """Return the whole of a text file; raise DataError where it is none."""
    with open_text(path) as file:
        return file.read()
