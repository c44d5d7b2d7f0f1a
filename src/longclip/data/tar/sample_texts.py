"""Texts of one sample of a tar file, from the content of its .txt and .json members."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from longclip.data.tables.columns import Columns, strings, usual_columns
from longclip.data.tables.rows import described
from longclip.data.text_files import decode_text


class SampleTexts(NamedTuple):
    """Texts of a sample; none of them is blank.

    Attributes:
        whole: those of .txt members.
        short, long: those of the columns of these roles in .json members, but for those in `whole`.
        broken: numbers of the .json members that are no JSON objects.
    """

    whole: tuple[str, ...]
    short: tuple[str, ...]
    long: tuple[str, ...]
    broken: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.whole or self.short or self.long)


def read_texts(texts: Sequence[bytes], objects: Sequence[bytes], columns: Columns) -> SampleTexts:
    """Return the texts in the members of a sample.

    Args:
        texts: content of the .txt members.
        objects: content of the .json members; of a column in several the first counts.
        columns: of the .json members, where they have unusual names.
    """
    whole = tuple(dict.fromkeys(filter(None, (decode_text(one).strip() for one in texts))))
    fields: dict[str, Any] = {}
    broken = []
    for number, content in enumerate(objects):
        try:
            found = json.loads(decode_text(content))
            if not isinstance(found, dict):
                raise ValueError("no object")
            fields = {**described(found), **fields}
        except (ValueError, RecursionError):
            broken.append(number)

    def of_fields(role: str) -> tuple[str, ...]:
        named = getattr(columns, role)
        free = (name for name in fields if name not in (columns.short, columns.long))
        names = [named] if named else usual_columns(role, free)
        found = next((fields[name] for name in names if fields.get(name)), None)
        # img2dataset writes the text of .txt into .json as well; it counts once.
        return tuple(text for text in strings(found) if text.strip() not in whole)

    return SampleTexts(whole, of_fields("short"), of_fields("long"), tuple(broken))
