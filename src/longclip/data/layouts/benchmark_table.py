"""A benchmark's images with its captions or labels in Parquet files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from longclip.data.captions import Captions
from longclip.data.collection import ChoiceSet, Collection, LabelSet
from longclip.data.layouts.file_collection import count_of
from longclip.data.tables.columns import Columns
from longclip.data.tables.open import load_parquet, table_name
from longclip.data.tables.table import Table
from longclip.errors import DataError

# What the usual hub copies call them, where longclip's own tables use another name.
_LABEL_COLUMNS = ("label", "fine_label", "cls")


class TableCollection(Collection):
    """A table whose texts or labels are those of a benchmark."""

    def __init__(
        self,
        table: Table,
        name: str,
        *,
        texts: Callable[[Captions], Captions] | None = None,
        label_set: LabelSet | None = None,
        choice_set: ChoiceSet | None = None,
    ) -> None:
        self.name = name
        self.absent = table.absent
        self._table = table
        self._texts = texts
        self._label_sets = () if label_set is None else (label_set,)
        self._choice_sets = () if choice_set is None else (choice_set,)
        if texts is not None:
            empty = [f"row {i}" for i in range(len(self)) if self.captions(i) == Captions()]
            self.problems = tuple(count_of(empty, "row has no text", "rows have no text"))

    def __len__(self) -> int:
        return len(self._table)

    def image(self, index: int) -> Image.Image:
        """Decode the picture of one row."""
        return self._table.image(index)

    def image_file(self, index: int) -> bytes:
        """Return the image file of one row."""
        return self._table.image_file(index)

    def captions(self, index: int) -> Captions:
        """Return the texts of one row, as the benchmark takes them."""
        return Captions() if self._texts is None else self._texts(self._table.captions(index))

    def label_sets(self) -> Sequence[LabelSet]:
        """Return the one task of a labelled table."""
        return self._label_sets

    def choice_sets(self) -> Sequence[ChoiceSet]:
        """Return the one set of questions of a table that has some."""
        return self._choice_sets


def parquet_files(root: Path, split: str) -> list[Path]:
    """Return `root` itself, or the Parquet files in it and its folders.

    Where the names of files or folders tell the split, only those of `split` are returned.
    """
    if root.is_file():
        return [root] if root.suffix == ".parquet" else []
    files = sorted([*root.glob("[!.]*.parquet"), *root.glob("[!.]*/[!.]*.parquet")])
    return [path for path in files if split in path.name or split in path.parent.name] or files


def open_long_texts(files: Sequence[Path], name: str) -> TableCollection:
    """Open one long text an image: of a long column, or else of a caption column."""

    def texts(captions: Captions) -> Captions:
        return Captions(long=(captions.long or captions.short)[:1])

    return TableCollection(_open_table(files), name, texts=texts)


def open_short_texts(files: Sequence[Path], name: str, *, per_image: int = 5) -> TableCollection:
    """Open the first `per_image` short captions an image."""
    return TableCollection(
        _open_table(files), name, texts=lambda c: Captions(short=c.short[:per_image])
    )


def open_labels(
    files: Sequence[Path], name: str, *, classes: Sequence[str], wnids: Sequence[str] = ()
) -> TableCollection:
    """Open labels as class names, WordNet ids or class numbers, in the benchmark's class order.

    Raises:
        DataError: if there is no label column, or a label is none of the classes.
    """
    table = _open_table(files)
    label_sets = table.label_sets()
    if not label_sets:
        raise DataError(f"{table.name} has no label column among {', '.join(_LABEL_COLUMNS)}")
    [own] = label_sets
    if all(label.isdigit() for label in own.classes):
        number = {label: int(label) for label in own.classes}
    elif table.numbered_labels and len(own.classes) == len(classes):
        # A column that carries its own list of names, in the order of the data set's numbers.
        number = {label: i for i, label in enumerate(own.classes)}
    else:
        # A name that stands for two classes (ImageNet has two such) says too little.
        number = {label: i for i, label in enumerate(classes) if list(classes).count(label) == 1}
        number |= {wnid: i for i, wnid in enumerate(wnids)}
    strange = [label for label in own.classes if not 0 <= number.get(label, -1) < len(classes)]
    if strange:
        [problem] = count_of(strange, "label is", "labels are")
        raise DataError(
            f"{table.name}: {problem} not among the {len(classes)} classes of {name}; write labels "
            "as class numbers, as the names longclip uses, or for ImageNet as WordNet ids"
        )
    targets = tuple(number[own.classes[target]] for target in own.targets)
    return TableCollection(table, name, label_set=LabelSet(name, tuple(classes), targets))


def _open_table(files: Sequence[Path]) -> Table:
    rows = load_parquet(files)
    label = next((name for name in _LABEL_COLUMNS if name in rows.column_names), None)
    columns = Columns(label=label)
    folder = files[0].absolute().parent
    return Table(table_name(files[0]), rows, folder, columns, as_written=True)
