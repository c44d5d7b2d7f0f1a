"""One meaning of rows and columns, whatever the container: a picture is one image."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longclip.data import (
    Captions,
    Columns,
    LabelSet,
    ShardCache,
    open_collection,
    open_training_data,
)
from longclip.data.collection import refuse_absent
from longclip.errors import DataError
from tests.helpers.shard_files import write_tar
from tests.helpers.table_files import png, write_jsonl, write_parquet, write_png

datasets = pytest.importorskip("datasets")

PARAGRAPH = "A red boat lies on a beach. " + "Behind it stand houses with white walls. " * 12
PARAGRAPH = PARAGRAPH.strip()

Rows = list[tuple[str, str]]
"""(colour of the picture, caption)."""

ROWS: Rows = [("red", "one"), ("green", "two"), ("red", "three"), ("blue", "4"), ("red", "five")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_pictures(folder: Path, rows: Rows) -> list[dict[str, str]]:
    for colour, _ in rows:
        write_png(folder / f"{colour}.png", colour)
    return [{"file_name": f"{colour}.png", "caption": text} for colour, text in rows]


def lines(folder: Path, rows: Rows) -> Path:
    return write_jsonl(folder / "t.jsonl", *write_pictures(folder, rows))


def folder_with_csv(folder: Path, rows: Rows) -> Path:
    found = write_pictures(folder, rows)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["file_name", "caption"])
        table.writeheader()
        table.writerows(found)
    return folder


def parquet_of_paths(folder: Path, rows: Rows) -> Path:
    found = write_pictures(folder, rows)
    columns = {key: [row[key] for row in found] for key in ("file_name", "caption")}
    return write_parquet(folder / "t.parquet", **columns)


def parquet_of_pictures(folder: Path, rows: Rows) -> Path:
    folder.mkdir()
    images = [{"bytes": png(colour), "path": f"{i}.png"} for i, (colour, _) in enumerate(rows)]
    return write_parquet(folder / "t.parquet", image=images, caption=[text for _, text in rows])


def saved(folder: Path, rows: Rows) -> Path:
    table = parquet_of_pictures(folder, rows)
    found = datasets.Dataset.from_parquet(str(table), cache_dir=str(folder / "cache"))
    found.cast_column("image", datasets.Image()).save_to_disk(folder / "saved")
    return folder / "saved"


def tar(folder: Path, rows: Rows) -> Path:
    members = {}
    for number, (colour, text) in enumerate(rows):
        members[f"{number}.png"] = png(colour)
        members[f"{number}.json"] = json.dumps({"caption": text}).encode()
    return write_tar(folder / "t.tar", members)


TABLES = [lines, folder_with_csv, parquet_of_paths, parquet_of_pictures, saved]


@pytest.mark.parametrize("write", TABLES)
def test_rows_of_one_picture_are_one_image(
    write: Callable[[Path, Rows], Path], tmp_path: Path
) -> None:
    collection = open_collection(write(tmp_path / "set", ROWS))
    assert [collection.captions(i).short for i in range(len(collection))] == [
        ("one", "three", "five"),
        ("two",),
        ("4",),
    ]
    colours = [collection.image(i).getpixel((0, 0)) for i in range(3)]
    assert colours == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert len({collection.key(i) for i in range(3)}) == 3


@pytest.mark.parametrize("write", [*TABLES, tar])
def test_lengths_decide_what_is_long(write: Callable[[Path, Rows], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "set", [("red", PARAGRAPH), ("green", "a dog")])
    cache = ShardCache(tmp_path / "shards")
    collection = open_collection(path, cache=cache)
    assert collection.captions(0) == Captions(long=(PARAGRAPH,))
    assert collection.captions(1) == Captions(("a dog",))
    named = open_collection(path, columns=Columns(short="caption"), cache=cache)
    assert named.captions(0) == Captions((PARAGRAPH,))
    named = open_collection(path, columns=Columns(long="caption"), cache=cache)
    assert named.captions(1) == Captions(long=("a dog",)), "and not short as well"


def test_each_text_of_a_list_is_decided_by_itself(tmp_path: Path) -> None:
    row: dict[str, Any] = {"image": "a.png", "captions": ["a boat", PARAGRAPH, "a beach", "a boat"]}
    table = write_jsonl(tmp_path / "t.jsonl", row, {**row, "image": "b.png", "long": "All of it."})
    collection = open_collection(table)
    assert collection.captions(0) == Captions(("a boat", "a beach"), (PARAGRAPH,))
    assert collection.captions(1).long == ("All of it.",), "a long column is what is long"


def test_one_picture_by_several_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_png(tmp_path / f"set/{name}.png", "red")
    names = ["a.png", "./a.png", "sub/../a.png", ".//a.png", str(tmp_path / "set/a.png"), "b.png"]
    rows = [{"image": name, "caption": str(number)} for number, name in enumerate(names)]
    collection = open_collection(write_jsonl(tmp_path / "set/t.jsonl", *rows))
    assert [collection.captions(i).short for i in range(len(collection))] == [
        tuple("01234"),
        ("5",),
    ], "two files with one content are two pictures"


def test_one_name_in_two_folders_is_the_first_that_is_there(tmp_path: Path) -> None:
    write_png(tmp_path / "one/a.png", "red")
    write_png(tmp_path / "two/a.png", "green")
    write_png(tmp_path / "two/b.png", "green")
    names = ["a.png", str(tmp_path / "one/a.png"), "b.png", str(tmp_path / "two/a.png"), "c.png"]
    rows = [{"image": name, "caption": name} for name in names]
    table = write_jsonl(tmp_path / "set/t.jsonl", *rows)
    collection = open_collection(table, images=[tmp_path / "one", tmp_path / "two"])
    assert [len(collection.captions(i).short) for i in range(len(collection))] == [2, 1, 1]
    assert (len(collection), collection.missing) == (3, 1)


def test_contents_that_differ_anywhere_are_two_pictures(tmp_path: Path) -> None:
    start, other = b"x" * 500, b"x" * 100 + b"y" + b"x" * 399
    images = [start, other, start, b"short", None, None, other, b"", b""]
    captions = [str(i) for i in range(9)]
    collection = open_collection(
        write_parquet(tmp_path / "t.parquet", image=images, caption=captions)
    )
    found = [collection.captions(i).short for i in range(len(collection))]
    assert found == [("0", "2"), ("1", "6"), ("3",), ("4",), ("5",), ("7",), ("8",)]


def test_labels_of_one_picture(tmp_path: Path) -> None:
    labels = [("a", "cat"), ("b", "dog"), ("a", "cat"), ("b", "ant")]
    rows = [{"image": f"{name}.png", "label": label} for name, label in labels]
    only_labels = open_collection(write_jsonl(tmp_path / "labels.jsonl", *rows))
    assert only_labels.label_sets()[0].targets == (1, 2, 1, 0), "each row counts"
    for name in "ab":
        write_png(tmp_path / f"set/{name}.png", "red")
    captioned = [{**row, "caption": str(number)} for number, row in enumerate(rows)]
    collection = open_collection(write_jsonl(tmp_path / "set/t.jsonl", *captioned))
    assert collection.label_sets() == (LabelSet("label", ("cat", "dog"), (0, 1)),)
    assert collection.problems == (
        "1 picture has rows with different labels, of which the first counts (row 1: dog, ant)",
    )


def test_a_row_is_named_by_its_place_in_the_table(tmp_path: Path) -> None:
    write_png(tmp_path / "pictures/a.png", "red")
    (tmp_path / "pictures/b.png").write_bytes(b"no picture")
    names = ["gone.png", "a.png", "a.png", "b.png"]
    rows = [{"image": name, "caption": "c", "label": None} for name in names]
    table = write_jsonl(tmp_path / "set/t.jsonl", *rows)
    collection = open_collection(table, images=[tmp_path / "pictures"])
    with pytest.raises(ValueError, match=r"set/t, row 3: .*not an image"):
        collection.image(1)
    with pytest.raises(DataError, match=r"set/t, row 1: column 'label' has no label"):
        collection.label_sets()


def test_pictures_that_are_not_there_are_told_at_once_and_in_order(tmp_path: Path) -> None:
    for number in (0, 3):
        write_png(tmp_path / f"pictures/{number}.png", "red")
    rows = [{"image": f"{number}.png", "caption": str(number)} for number in range(14)]
    table = write_jsonl(tmp_path / "set/t.jsonl", *rows)
    [line] = open_collection(table).problems
    assert line == (
        "14 of 14 pictures are not there (0.png, 1.png, 2.png, …); name the folder that they lie "
        "in with --images FOLDER"
    )
    mixture = open_training_data(["scenes/val", table])
    first = len(open_collection("scenes/val"))
    assert list(mixture.absent) == list(range(first, first + 14))
    refuse_absent(mixture, 0.5)
    refuse_absent(mixture, 0, items=first)
    with pytest.raises(DataError, match="14 of 14 pictures are not there") as error:
        refuse_absent(open_collection(table), 0.9)
    first_line, *listed = str(error.value).splitlines()
    assert first_line.endswith("name the folder that they lie in with --images FOLDER")
    assert [line.split(":")[0] for line in listed[:10]] == [f"  set/t, row {i}" for i in range(10)]
    assert listed[10:] == ["  …"]
    found = open_collection(table, images=[tmp_path / "pictures"])
    assert (len(found), found.missing, found.absent) == (2, 12, [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"14 of 14 rows left out: no such picture \(0.png.*--images"
    ):
        open_collection(table, images=[tmp_path / "empty"])
