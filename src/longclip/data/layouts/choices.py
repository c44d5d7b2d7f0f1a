"""Questions with one right answer: SugarCrepe, SugarCrepe++, ARO and Winoground."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from longclip.data.collection import Choice, ChoiceRule, ChoiceSet, Collection
from longclip.data.json_files import read_json, read_jsonl
from longclip.data.layouts.benchmark_table import TableCollection
from longclip.data.layouts.file_collection import (
    FileCollection,
    count_of,
    existing,
    field,
    first_of,
    folder_with,
)
from longclip.data.tables.columns import Columns
from longclip.data.tables.open import load_parquet, table_name
from longclip.data.tables.table import Table
from longclip.errors import DataError, ImageError

Box = tuple[int, int, int, int]
"""A part of a picture: left, top, right, bottom, in pixels."""

_COCO_FOLDERS = ("val2017", "images", "coco/val2017", "coco/images/val2017")
_TRUE_AND_FALSE = ("true_caption", "false_caption")
_ORDERS = ("correct_caption", "hard_text_1", "hard_text_2", "hard_text_3", "hard_text_4")


class ChoiceCollection(FileCollection):
    """Image files, or parts of them, with one set of questions about them."""

    def __init__(
        self,
        name: str,
        images: Sequence[tuple[Path, Box | None]],
        choices: ChoiceSet,
        problems: Iterable[str] = (),
    ) -> None:
        super().__init__(name, [path for path, _ in images], problems=problems)
        self._boxes = [box for _, box in images]
        self._choice_set = choices

    def image(self, index: int) -> Image.Image:
        """Decode one file, and cut its part out."""
        picture, box = super().image(index), self._boxes[index]
        if box is None:
            return picture
        # As the published code does, whose boxes may reach over the edge: what is there is black.
        part = picture.crop(box)
        if not all(part.size):
            raise ImageError(f"{self._images[index]}: the box {box} is empty; copy the data again")
        return part

    def key(self, index: int) -> str:
        """Return the SHA-256 of the file, with the part that is taken."""
        whole, box = super().key(index), self._boxes[index]
        return whole if box is None else hashlib.sha256(f"{whole} {box}".encode()).hexdigest()

    def choice_sets(self) -> Sequence[ChoiceSet]:
        """Return the one set of questions."""
        return (self._choice_set,)


def open_sugarcrepe(
    root: Path, name: str, *, categories: Sequence[str], captions: Sequence[str], rule: ChoiceRule
) -> ChoiceCollection:
    """Open CATEGORY.json files, here or in `data`, about pictures of COCO's val2017.

    Each holds a list of rows, or an object of them by number.
    """
    files = [f"{category}.json" for category in categories]
    folder = folder_with(root, *files)
    inside = any((folder / place).exists() for place in _COCO_FOLDERS)
    pictures = first_of(folder if inside else root, _COCO_FOLDERS, "folder of COCO's pictures")

    def questions() -> Iterator[_Question]:
        for category, file in zip(categories, files, strict=True):
            path = folder / file
            content = read_json(path)
            rows = content.values() if isinstance(content, dict) else content
            if not isinstance(content, list | dict):
                raise DataError(f"{path} is no list of rows; is it the published file?")
            for row in rows:
                place = pictures / _file_name(row, "filename", path)
                yield [(place, None)], _texts(row, captions, path), category

    return _open(name, questions(), rule)


def open_visual_genome(
    root: Path,
    name: str,
    *,
    file: str,
    category: str,
    least: int = 1,
    left_out: Iterable[str] = (),
) -> ChoiceCollection:
    """Open a file of ARO: two captions about a box of a picture in `images`.

    `category` is the field that rows are grouped by, `least` how many rows a group needs and
    `left_out` which groups do not, to count in the mean of the groups.
    """
    path = folder_with(root, file, "images") / file

    def questions() -> Iterator[_Question]:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise DataError(f"{path} is no list of rows; is it the published file?")
        for row in rows:
            left, top, width, height = (_number(row, f"bbox_{side}", path) for side in "xywh")
            place = path.parent / "images" / _file_name(row, "image_path", path)
            group = field(row, category, path)
            group = "_".join(map(str, group)) if isinstance(group, list) else str(group)
            box = (left, top, left + width, top + height)
            yield [(place, box)], _texts(row, _TRUE_AND_FALSE, path), group

    return _open(name, questions(), "first", least=least, left_out=left_out)


def open_winoground(root: Path, name: str) -> ChoiceCollection:
    """Open examples.jsonl, here or in `data`, with images/*.png beside it."""
    path = folder_with(root, "examples.jsonl", "images") / "examples.jsonl"

    def questions() -> Iterator[_Question]:
        for row in read_jsonl(path):
            files = [_file_name(row, f"image_{i}", path) for i in (0, 1)]
            images = [(path.parent / "images" / f"{file}.png", None) for file in files]
            texts = _texts(row, ("caption_0", "caption_1"), path)
            yield images, texts, str(field(row, "collapsed_tag", path))

    return _open(name, questions(), "pairs")


def open_orders(files: Sequence[Path], name: str) -> Collection:
    """Open Parquet files with a picture, its caption and four with its words in other orders."""
    rows = load_parquet(files)
    image = next((column for column in ("images", "image") if column in rows.column_names), None)
    missing = [column for column in _ORDERS if column not in rows.column_names]
    if image is None or missing:
        lacking = ", ".join(missing) or "image"
        raise DataError(f"{files[0]} has no column {lacking}; is it the published file?")
    columns = [rows[column] for column in _ORDERS]
    choices = tuple(
        Choice((index,), tuple(map(str, texts)), "order")
        for index, texts in enumerate(zip(*columns, strict=True))
    )
    table = Table(
        table_name(files[0]),
        rows.select_columns([image]),
        files[0].absolute().parent,
        Columns(image=image),
        as_written=True,
    )
    return TableCollection(table, name, choice_set=ChoiceSet(name, "first", choices))


_Question = tuple[Sequence[tuple[Path, Box | None]], tuple[str, ...], str]


def _open(
    name: str,
    questions: Iterable[_Question],
    rule: ChoiceRule,
    *,
    least: int = 1,
    left_out: Iterable[str] = (),
) -> ChoiceCollection:
    """Gather the questions whose pictures are all there; the others become a problem."""
    number: dict[tuple[Path, Box | None], int] = {}
    found: dict[Path, Path | None] = {}
    choices: list[Choice] = []
    missing: dict[str, None] = {}
    for images, texts, category in questions:
        places = []
        for path, box in images:
            if path not in found:
                found[path] = existing(path)
            file = found[path]
            if file is None:
                missing[path.name] = None
            else:
                places.append(number.setdefault((file, box), len(number)))
        if len(places) == len(images):
            choices.append(Choice(tuple(places), texts, category))
    problems = count_of(list(missing), "image is missing", "images are missing")
    choice_set = ChoiceSet(name, rule, tuple(choices), least=least, left_out=frozenset(left_out))
    return ChoiceCollection(name, list(number), choice_set, problems)


def _texts(row: Any, keys: Sequence[str], path: Path) -> tuple[str, ...]:
    texts = tuple(field(row, key, path) for key in keys)
    for key, text in zip(keys, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{path}: a row's {key!r} is {text!r}, no text; copy the file again")
    return texts


def _file_name(row: Any, key: str, path: Path) -> str:
    name = field(row, key, path)
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise DataError(f"{path}: a row's {key!r} is {name!r}, no file name; copy the file again")
    return name


def _number(row: Any, key: str, path: Path) -> int:
    value = field(row, key, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{path}: a row's {key!r} is {value!r}, no number; copy the file again")
    return round(value)
