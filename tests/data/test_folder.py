"""Folders of pictures, described by a table, by texts beside the pictures, or by their classes."""

import json
import os
from pathlib import Path

import pytest

from longclip.data import Captions, open_collection
from longclip.errors import DataError
from tests.helpers.table_files import write_jsonl, write_parquet, write_png

pytest.importorskip("datasets")

NAMES = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures in a folder."""
    for name in NAMES:
        write_png(tmp_path / "set" / f"{name}.png", "red")
    return tmp_path / "set"


def texts(path: Path) -> list[tuple[str, ...]]:
    collection = open_collection(path)
    captions = [collection.captions(i) for i in range(len(collection))]
    return [own.short + own.long for own in captions]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_in_the_folder(suffix: str, folder: Path) -> None:
    path, captions = folder / f"metadata.{suffix}", ["None", "1984", "A dog."]
    files = [f"{name}.png" for name in NAMES]
    if suffix == "parquet":
        write_parquet(path, file_name=files, text=captions)
    elif suffix == "jsonl":
        rows = zip(files, captions, strict=True)
        write_jsonl(path, *({"file_name": file, "text": text} for file, text in rows))
    else:
        mark = "," if suffix == "csv" else "\t"
        lines = zip(("file_name", *files), ("text", *captions), strict=True)
        path.write_text("".join(f"{mark.join(line)}\n" for line in lines))
    assert texts(folder) == [("None",), ("1984",), ("A dog.",)]


@pytest.mark.parametrize("name", ["METADATA.CSV", "Metadata.csv", "METADATA.PARQUET"])
def test_the_case_of_a_tables_name_does_not_matter(name: str, folder: Path) -> None:
    files, captions = [f"{name}.png" for name in NAMES], ["One.", "Two.", "Three."]
    if name.endswith("PARQUET"):
        write_parquet(folder / name, file_name=files, text=captions)
    else:
        lines = zip(("file_name", *files), ("text", *captions), strict=True)
        (folder / name).write_text("".join(f"{','.join(line)}\n" for line in lines))
    assert texts(folder) == [("One.",), ("Two.",), ("Three.",)]


def test_tables_in_folders_below(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_png(tmp_path / part / "0.png", "red")
        (tmp_path / part / "metadata.csv").write_text(f"file_name,text\n0.png,For {part}.\n")
    assert texts(tmp_path) == [("For test.",), ("For train.",)]
    assert open_collection(tmp_path).image(0).size == (5, 4)


def test_what_a_table_and_a_folder_do_not_share_is_counted_and_named(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\na.png,One.\n./b.png,Two.\nd.png,Four.\n")
    collection = open_collection(folder)
    assert (len(collection), collection.missing) == (2, 2)
    assert collection.problems == (
        "1 picture has no row (c.png)",
        f"1 of 3 rows left out: no such picture (d.png) in {folder}",
    )


def test_several_tables_of_one_folder_are_refused(folder: Path) -> None:
    for suffix in ("csv", "jsonl"):
        (folder / f"metadata.{suffix}").write_text("")
    with pytest.raises(DataError, match=r"set holds metadata\.csv, metadata\.jsonl; keep one"):
        open_collection(folder)


def test_texts_beside_pictures(folder: Path) -> None:
    write_png(folder / "deep" / "d.png", "red")
    write_png(folder / "e.png", "red")
    (folder / "a.txt").write_text("A dog\nasleep.\n\nIt snores.\n")
    (folder / "b.TXT").write_text("Un café.", encoding="utf-16")
    (folder / "c.caption").write_text("\ufeff1984", encoding="utf-8")
    (folder / "deep" / "d.json").write_text(json.dumps({"short": ["x", "y"], "long": "A story."}))
    (folder / "e.json").write_text(json.dumps({"width": 5, "caption": 300, "image": "x.png"}))
    collection = open_collection(folder)
    assert [collection.captions(i) for i in range(5)] == [
        Captions(("A dog\nasleep.\n\nIt snores.",)),
        Captions(("Un café.",)),
        Captions(("1984",)),
        Captions(("x", "y"), ("A story.",)),
        Captions(("300",)),
    ]
    assert collection.problems == ()
    assert collection.image(3).size == (5, 4)


def test_texts_that_cannot_be_used_are_counted_and_named(folder: Path) -> None:
    (folder / "a.txt").write_text("A dog.")
    (folder / "b.txt").write_bytes("Un café.".encode("latin-1"))
    (folder / "c.json").write_text("{broken")
    (folder / "d.txt").write_text("Nothing beside it.")
    collection = open_collection(folder)
    assert collection.captions(0) == Captions(("A dog.",))
    assert collection.problems[:2] == (
        "2 texts cannot be read (b.txt, c.json)",
        "1 text is beside no picture (d.txt)",
    )


def test_links_and_pipes_and_hidden_files(folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "elsewhere" / "d.png", "red")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(folder)
    (folder / "circle").symlink_to("circle")
    (folder / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "a.txt")
    (folder / "._a.png").write_bytes(b"no picture")
    write_png(folder / ".hidden" / "h.png", "red")
    assert len(open_collection(folder)) == 4


def test_folders_of_different_depths_are_no_classes(folder: Path) -> None:
    write_png(folder / "deep" / "d.png", "red")
    assert open_collection(folder).label_sets() == ()


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("0.parquet", "1.parquet", "readme.md"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"holds no pictures but 2 \.parquet, 1 \.md; name a file"):
        open_collection(tmp_path)
