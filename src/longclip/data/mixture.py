"""Several collections as one: simply joined, or with a weight and a text policy for each."""

import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from longclip.data.captions import DEFAULT_POLICY, UNCHANGED, Captions, PolicyChange, TextPolicy
from longclip.data.collection import Collection
from longclip.data.names import SCENES, refuse_unread
from longclip.data.storage import is_url
from longclip.data.tables.columns import Columns
from longclip.errors import DataError, UsageError
from longclip.util.digest import Digest


class Joined(Collection):
    """Several collections one after the other.

    It has no label sets: classes of different collections are different tasks.

    Args:
        parts: the collections.
        sizes: how many of the first items of each to take; all where None.

    Attributes:
        missing: how many rows or samples the parts have left out.
        absent: items of the parts that have no picture.
        problems: those of the parts.
    """

    def __init__(self, parts: Sequence[Collection], sizes: Sequence[int] | None = None) -> None:
        assert parts
        self.name = " + ".join(part.name for part in parts)
        self.problems = tuple(
            f"{part.name}: {line}" if len(parts) > 1 else line
            for part in parts
            for line in part.problems
        )
        self.missing = sum(part.missing for part in parts)
        self._parts = parts
        self._ends = list(accumulate(sizes or map(len, parts)))
        self.absent = [
            start + index
            for part, (start, stop) in zip(parts, self._bounds(), strict=True)
            for index in part.absent
            if index < stop - start
        ]

    def __len__(self) -> int:
        return self._ends[-1]

    def collections(self) -> list[tuple[Collection, int]]:
        """Return the parts, and how many of the first items of each are used."""
        return [
            (part, stop - start)
            for part, (start, stop) in zip(self._parts, self._bounds(), strict=True)
        ]

    def image(self, index: int) -> Image.Image:
        """Return the picture of the part that holds this index."""
        part, inner = self._find(index)
        return part.image(inner)

    def image_file(self, index: int) -> bytes | None:
        """Return the image file of the part that holds this index."""
        part, inner = self._find(index)
        return part.image_file(inner)

    def key(self, index: int) -> str:
        """Return the key of the part that holds this index."""
        part, inner = self._find(index)
        return part.key(inner)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the parts' fingerprints and sizes, in their order."""
        digest = Digest()
        for part, (start, stop) in zip(self._parts, self._bounds(), strict=True):
            digest.add(part.fingerprint(), str(stop - start))
        return digest.hexdigest()

    def captions(self, index: int) -> Captions:
        """Return the texts of the part that holds this index."""
        part, inner = self._find(index)
        return part.captions(inner)

    def blocks(self) -> Sequence[range]:
        """Return the blocks of all parts; one without any is cut into the others' mean size."""
        per_part = [
            [range(b.start, min(b.stop, stop - start)) for b in part.blocks()]
            for part, (start, stop) in zip(self._parts, self._bounds(), strict=True)
        ]
        given = [len(block) for blocks in per_part for block in blocks if block]
        if not given:
            return ()
        size = max(1, sum(given) // len(given))
        return [
            range(start + block.start, start + block.stop)
            for blocks, (start, stop) in zip(per_part, self._bounds(), strict=True)
            for block in blocks
            or [range(i, min(i + size, stop - start)) for i in range(0, stop - start, size)]
            if block
        ]

    def policy_of(self, index: int, policy: TextPolicy) -> TextPolicy:
        """Return what the part that holds this index makes of a run's policy."""
        part, inner = self._find(index)
        return part.policy_of(inner, policy)

    def _bounds(self) -> list[tuple[int, int]]:
        return list(pairwise([0, *self._ends]))

    def _find(self, index: int) -> tuple[Collection, int]:
        place = bisect_right(self._ends, index)
        start = self._ends[place - 1] if place else 0
        return self._parts[place], index - start


def join(parts: Sequence[Collection]) -> Collection:
    """Return one collection for one or more."""
    return parts[0] if len(parts) == 1 else Joined(parts)


@dataclass(frozen=True)
class MixtureSource:
    """One `[[source]]` of a mixture file.

    Attributes:
        data: anything `open_collection` opens; a path starts from the folder of the mixture file.
        images: folders that paths of pictures start from, likewise.
        weight: share of the pairs of every batch, over the sum of all weights; None where no
            source has one.
        limit: use only so many first items; 0 for all.
        columns: names of columns; None for those of the whole run.
        texts: changes of the run's text policy.
    """

    data: str | Path
    images: tuple[Path, ...] = ()
    weight: float | None = None
    limit: int = 0
    columns: Columns | None = None
    texts: PolicyChange = UNCHANGED


@dataclass(frozen=True)
class Part:
    """The items of a mixture from `start` to before `stop`, which come from one source."""

    name: str
    start: int
    stop: int
    weight: float | None
    texts: PolicyChange


class Mixture(Joined):
    """Sources one after the other; `longclip.training.plan` takes their weights into account.

    Attributes:
        parts: in order of their items.
        found_twice: a line on pictures that several sources have, if there are any.
    """

    def __init__(self, sources: Sequence[MixtureSource], opened: Sequence[Collection]) -> None:
        sizes = [
            min(len(collection), source.limit) if source.limit else len(collection)
            for source, collection in zip(sources, opened, strict=True)
        ]
        super().__init__(opened, sizes)
        self.parts = tuple(
            Part(collection.name, start, stop, source.weight, source.texts)
            for source, collection, (start, stop) in zip(
                sources, opened, self._bounds(), strict=True
            )
        )
        self.found_twice = tuple(_found_twice(opened, sizes))
        self.problems += self.found_twice

    def fingerprint(self) -> str:
        """Return the SHA-256 of the sources' fingerprints, sizes, weights and text policies."""
        digest = Digest()
        digest.add(super().fingerprint())
        for part in self.parts:
            digest.add(repr(part.weight), repr(part.texts))
            if part.texts.long is not None:
                digest.add("long", part.texts.long)
        return digest.hexdigest()

    def picture_numbers(self) -> list[int]:
        """Return a number for each item, the same for equal pictures of several sources.

        As far as they are known (`Collection.picture_hashes`).
        """
        # Within one source rows of a picture are one item already.
        numbers: list[int] = []
        first: dict[int, int] = {}
        parts = self.collections()
        for part, size in parts:
            hashes = part.picture_hashes()[:size] if len(parts) > 1 else ()
            start = len(numbers)
            numbers += [first.setdefault(value, start + i) for i, value in enumerate(hashes)]
            numbers += range(len(numbers), start + size)
        return numbers

    def policy_of(self, index: int, policy: TextPolicy) -> TextPolicy:
        """Return what the source of one item makes of a run's policy."""
        return self.parts[bisect_right(self._ends, index)].texts.of(policy)


def _found_twice(opened: Sequence[Collection], sizes: Sequence[int]) -> Iterator[str]:
    """Yield a line on pictures that are in more than one source, if there are any."""
    if len(opened) < 2:
        return
    found: dict[int, int] = {}
    count, examples = 0, dict[str, None]()
    for number, (collection, size) in enumerate(zip(opened, sizes, strict=True)):
        for value in collection.picture_hashes()[:size]:
            first = found.setdefault(value, number)
            if first != number:
                count += 1
                examples[f"{opened[first].name} and {collection.name}"] = None
    if count:
        pictures = "picture is" if count == 1 else "pictures are"
        more = ", …" if len(examples) > 1 else ""
        yield (
            f"{count:,} {pictures} in more than one source ({next(iter(examples))}{more}); "
            "where both are compared, one counts as another picture than the other"
        )


MAX_WEIGHT = 1e9
"""Greatest weight of a source: the sum of larger ones could be no number."""

# The fields of MixtureSource, with those of PolicyChange in the place of `texts`.
_KEYS = ("data", "images", "weight", "limit", "short", "join_short", "long", "columns")


def read_mixture(path: Path) -> list[MixtureSource]:
    """Return the sources of a mixture file.

    Args:
        path: of a TOML file with one `[[source]]` after the other, whose keys are `data`, which
            every source has, and `images`, `weight`, `limit`, `short`, `join_short`, `long` (see
            `TextPolicy`) and `columns` (a table with `image`, `short`, `long`).

    Raises:
        DataError: if it is no such file; the message names the source and the key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as TOML: {error}") from None
    rows = content.pop("source", None)
    if content or not isinstance(rows, list) or not rows:
        strange = f", not {', '.join(content)}" if content else ""
        raise DataError(f"{path}: a mixture consists of tables [[source]]{strange}")
    sources = [
        _read_source(row, f"{path}, source {n}", path.parent) for n, row in enumerate(rows, 1)
    ]
    without = [str(n) for n, source in enumerate(sources, 1) if source.weight is None]
    if 0 < len(without) < len(sources):
        raise DataError(
            f"{path}: give every source a weight or none; missing of source {', '.join(without)}"
        )
    return sources


def _read_source(row: Any, where: str, folder: Path) -> MixtureSource:
    """Return the source that one `[[source]]` describes; paths start from `folder`."""
    _check_keys(row, _KEYS, where)
    data = _value(row, "data", (str,), where)
    if not data:
        raise DataError(f"{where}: `data` is missing; name what to open")
    images = _value(row, "images", (str, list), where) or []
    folders = [images] if isinstance(images, str) else images
    for folder_name in folders:
        _value({"images": folder_name}, "images", (str,), where)
    weight = _value(row, "weight", (int, float), where)
    if weight is not None and weight > MAX_WEIGHT:
        raise DataError(f"{where}: weight is {weight}, must be at most {MAX_WEIGHT:g}")
    if weight is not None and not weight > 0:
        raise DataError(f"{where}: weight is {weight}, must be above 0; leave the source out")
    limit = _value(row, "limit", (int,), where) or 0
    if limit < 0:
        raise DataError(f"{where}: limit is {limit}, must be 0 (all) or more")
    columns, named = None, _value(row, "columns", (dict,), where)
    if named is not None:
        place = f"{where}, columns"
        _check_keys(named, [field.name for field in fields(Columns)], place)
        columns = Columns(**{key: _value(named, key, (str,), place) for key in named})
    texts = PolicyChange(
        _value(row, "short", (str,), where),
        _value(row, "join_short", (int,), where),
        _value(row, "long", (str,), where),
    )
    try:
        texts.of(DEFAULT_POLICY)
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None
    given = {"images": "images"} if images else {}
    if columns:
        given |= {key: f"columns.{key}" for key, name in vars(columns).items() if name}
    data = _resolve(folder, data)
    try:
        refuse_unread(given, [data])
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None
    return MixtureSource(
        data=data,
        images=tuple(folder / name for name in folders),
        weight=weight,
        limit=limit,
        columns=columns,
        texts=texts,
    )


def _check_keys(row: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(row, dict):
        raise DataError(f"{where} is no table; write [[source]] and its keys below")
    unknown = [key for key in row if key not in known]
    if unknown:
        raise DataError(f"{where}: no such key: {', '.join(unknown)}; there are {', '.join(known)}")


def _value(row: dict[str, Any], key: str, kinds: tuple[type, ...], where: str) -> Any:
    """Return the value of an optional key, checked; None where it is absent."""
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise DataError(f"{where}: {key} is {value!r}, must be {wanted}")
    if isinstance(value, str) and not value.strip():
        raise DataError(f"{where}: {key} is empty; leave it out or give it a value")
    return value


def _resolve(folder: Path, data: str) -> str | Path:
    """Return a path in the folder of the mixture; a name that is no path stays as it is.

    `owner/name` may be a folder here or a data set on the hub, and only a `str` is looked for
    there: so it becomes a path if there is one, or if it can be nothing else.
    """
    if is_url(data) or data.partition("/")[0] == SCENES:
        return data
    path = folder / data
    is_path = path.is_absolute() or path.exists() or data.startswith(".") or path.suffix
    is_pattern = any(mark in data for mark in "*?[{")
    return path if is_path or is_pattern else data
