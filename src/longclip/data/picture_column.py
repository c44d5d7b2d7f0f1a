"""The column of a table that holds pictures, read in batches without copying what is embedded."""

from collections.abc import Iterator
from typing import Any, NamedTuple

_BATCH_ROWS = 1000


class PictureBatch(NamedTuple):
    """Some rows of a picture column, as arrays of pyarrow with a null where a row has none.

    Attributes:
        contents: embedded files; their bytes stay on disk until they are asked for.
        paths: of files.
    """

    contents: Any
    paths: Any


def picture_batches(rows: Any, column: str) -> Iterator[PictureBatch]:
    """Yield the rows of a table of `datasets`, one batch after the other."""
    import pyarrow as pa

    table = rows.select_columns([column]).with_format("arrow")
    for batch in table.iter(batch_size=_BATCH_ROWS):
        for chunk in batch.column(0).chunks:
            fields = {"bytes": chunk, "path": chunk}
            if pa.types.is_struct(chunk.type):
                # Not `field`, which forgets that a whole row may be null.
                names = [chunk.type.field(i).name for i in range(chunk.type.num_fields)]
                fields = dict(zip(names, chunk.flatten(), strict=True))
            nothing = pa.nulls(len(chunk))
            contents, paths = (fields.get(name, nothing) for name in ("bytes", "path"))
            is_binary = pa.types.is_binary(contents.type) or pa.types.is_large_binary(contents.type)
            is_text = pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)
            yield PictureBatch(
                contents if is_binary else nothing.cast(pa.binary()),
                paths if is_text else nothing.cast(pa.string()),
            )
