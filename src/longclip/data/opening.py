"""From what a user names as data to a Collection."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from PIL import Image

from longclip.data.collection import Captions, Collection, LabelSet
from longclip.data.scenes import ScenesCollection
from longclip.data.tables import Columns, DataError, open_table

SCENES = "scenes"
SCENE_SPLITS = (
    "train",
    "train-tags",
    "train-landmarks",
    "train-groups",
    "val",
    "val-short",
    "test",
    "test-short",
)


def open_collection(
    data: str | Path, *, split: str = "train", columns: Columns | None = None
) -> Collection:
    """Open data by name or path.

    Args:
        data: `scenes`, `scenes/SPLIT`, or the path of a .parquet or .jsonl file or of a folder of
            pictures. A folder called scenes is reached as `./scenes` or as a `Path`.
        split: of the scenes, where `data` does not say.
        columns: which columns mean what; for tables.

    Raises:
        DataError: if there is no such data or it cannot be read.
    """
    name, _, named_split = str(data).partition("/")
    if name == SCENES and isinstance(data, str):
        split = named_split or split
        if split not in SCENE_SPLITS:
            raise DataError(f"scenes has no split {split!r}, only {', '.join(SCENE_SPLITS)}")
        return ScenesCollection(split)
    return open_table(Path(data), columns or Columns())


def open_for_evaluation(data: str | Path, *, columns: Columns | None = None) -> list[Collection]:
    """As `open_collection`; `scenes` alone means both of its test splits."""
    if data == SCENES:
        return [ScenesCollection("test"), ScenesCollection("test-short")]
    return [open_collection(data, split="test", columns=columns)]


class Joined:
    """Several collections one after the other."""

    def __init__(self, parts: Sequence[Collection]) -> None:
        assert parts
        self.name = " + ".join(part.name for part in parts)
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def image(self, index: int) -> Image.Image:
        """The picture of the part that holds this index."""
        part, inner = self._find(index)
        return part.image(inner)

    def key(self, index: int) -> str:
        """That of the part that holds this index."""
        part, inner = self._find(index)
        return part.key(inner)

    def captions(self, index: int) -> Captions:
        """The texts of the part that holds this index."""
        part, inner = self._find(index)
        return part.captions(inner)

    def label_sets(self) -> Sequence[LabelSet]:
        """None: classes of different collections are different tasks."""
        return ()

    def _find(self, index: int) -> tuple[Collection, int]:
        place = bisect_right(self._ends, index)
        start = self._ends[place - 1] if place else 0
        return self._parts[place], index - start


def join(parts: Sequence[Collection]) -> Collection:
    """One collection out of one or more."""
    return parts[0] if len(parts) == 1 else Joined(parts)
