"""Values of a picture column: paths as other machines write them, addresses, encoded files."""

import base64
import binascii
import os
from typing import Any
from urllib.parse import unquote, urlsplit

from longclip.data.storage import is_url
from longclip.errors import DataError
from longclip.util.unicode import unicode_forms

_FILE = "file:"
_BASE64 = ("data:image/", "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")
"""Beginnings of pictures in base64: an address of any, JPEG, PNG, GIF, WebP."""


def check_picture_column(name: str, rows: Any, column: str) -> None:
    """Raise where a column of a table of `datasets` holds no pictures, nor paths of pictures.

    Raises:
        DataError: names the column, what it holds, and what to do.
    """
    import pyarrow as pa

    kind = rows.data.schema.field(column).type
    parts = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    is_value = any(
        is_kind(kind)
        for is_kind in (
            *(pa.types.is_string, pa.types.is_large_string, pa.types.is_null),
            *(pa.types.is_binary, pa.types.is_large_binary),
        )
    )
    if not is_value and not {"bytes", "path"} & {*parts}:
        several = "several values a row" if pa.types.is_nested(kind) else f"values of type {kind}"
        raise DataError(
            f"{name}: column {column!r} holds {several}, not one picture or its path; name another "
            f"of {', '.join(rows.column_names)} with --image-column"
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        some = rows.select_columns([column])[:1000][column]
        first = next((value for value in some if value), "")
        if is_url(first) and not first.startswith(_FILE):
            raise DataError(
                f"{name}: column {column!r} holds addresses ({first:.80}), and longclip fetches no "
                "pictures; download them, for example with img2dataset, and name their paths, or "
                "another column with --image-column"
            )


def spellings(path: str) -> list[str]:
    """Return the ways in which a file may be called on this machine, the given one first.

    Tables come from other machines: with backslashes between folders, with letters composed that
    the disk has decomposed or the other way round, or with `file://` addresses.
    """
    if path.startswith(_FILE):
        path = unquote(urlsplit(path).path)
    found = [path]
    if "\\" in path and os.sep != "\\":
        found.append(path.replace("\\", "/"))
    return [form for one in found for form in unicode_forms(one)]


def picture_of_base64(text: str) -> bytes | None:
    """Return the file that a text holds in base64, also in a `data:` address; None without one."""
    if not text.startswith(_BASE64):
        return None
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except binascii.Error:  # a path
        return None


def separate_base64(contents: Any, texts: Any) -> tuple[Any, Any]:
    """Return contents with the pictures that texts hold in base64, and the texts that are paths.

    Both are arrays of pyarrow of the same length, with nulls.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pattern = f"^({'|'.join(_BASE64)})"
    maybe = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    if not pc.any(maybe).as_py():
        return contents, texts
    candidates = pc.if_else(maybe, texts, None).to_pylist()
    decoded = [picture_of_base64(text) if text else None for text in candidates]
    found = pa.array(decoded, contents.type)
    return pc.coalesce(contents, found), pc.if_else(found.is_valid(), None, texts)
