"""ShareGPT4V as it is published, all of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from longclip.data import Captions, Columns, open_collection, open_for_evaluation
from longclip.data.layouts import descriptions as module
from longclip.data.layouts.descriptions import SHAREGPT4V
from longclip.data.tables.table import Table
from longclip.errors import DataError
from tests.helpers.table_files import write_png

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def row(image: str, text: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": text}]
    return {"id": image, "image": image, "conversations": turns}


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def opened(path: Path, **options: Any) -> Table:
    collection = open_collection(path, **options)
    assert isinstance(collection, Table)
    return collection


def test_pictures_are_looked_for_in_the_roots_and_beside_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "set" / "rows.json", [row(f"coco/{n}.png", f"Text {n}.\nMore.") for n in "abcde"]
    )
    for place, colour in (
        ("disk/coco/a.png", "red"),
        ("other/coco/a.png", "blue"),
        ("other/coco/b.png", "blue"),
        ("set/coco/c.png", "green"),
        ("set/data/coco/e.png", "red"),
    ):
        write_png(tmp_path / place, colour)
    collection = opened(path, images=[tmp_path / "disk", tmp_path / "other"])
    assert [collection.image(i).getpixel((0, 0)) for i in range(4)] == [
        *((255, 0, 0), (0, 0, 255), (0, 128, 0), (255, 0, 0))
    ]
    assert [collection.captions(i) for i in range(4)] == [
        Captions((), (f"Text {n}. More.",)) for n in "abce"
    ]
    assert len({collection.key(i) for i in range(4)}) == 3
    assert collection.missing == 1
    [line] = collection.problems
    assert line.startswith("1 of 5 rows left out: no such picture (coco/d.png) in ")
    assert collection.name == "set/rows"


def test_a_partial_download_is_no_error(tmp_path: Path) -> None:
    rows = [row(f"sam/{n}.jpg", "x") for n in range(4000)] + [row("coco/1.png", "y")]
    write_png(tmp_path / "coco/1.png", "red")
    collection = opened(write(tmp_path / "rows.json", rows))
    assert (len(collection), collection.missing) == (1, 4000)
    assert (
        "4,000 of 4,001 rows left out: no such picture (sam/0.jpg, sam/1.jpg, sam/2.jpg, …)"
        in (collection.problems[0])
    )


def test_the_first_rows_of_the_published_file_are_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_OUT_ROWS", 3)
    rows = [row(f"{n}.png", f"Text {n}.") for n in range(5)]
    for n in range(5):
        write_png(tmp_path / f"{n}.png", "red")
    published = write(tmp_path / SHAREGPT4V, rows)
    training = opened(published)
    assert [training.captions(i).long for i in range(2)] == [("Text 3.",), ("Text 4.",)]
    [test] = open_for_evaluation(published)
    assert [test.captions(i).long[0] for i in range(len(test))] == ["Text 0.", "Text 1.", "Text 2."]
    assert len(opened(write(tmp_path / "other.json", rows))) == 5


def test_rows_that_are_not_about_a_picture(tmp_path: Path) -> None:
    for name in "abc":
        write_png(tmp_path / f"{name}.png", "red")
    rows = [
        row("a.png", "Text."),
        {"conversations": row("", "x")["conversations"]},
        {"image": "b.png", "conversations": [1, 2]},
        {"image": "c.png", "conversations": []},
        "nonsense",
    ]
    collection = opened(write(tmp_path / "rows.json", rows))
    assert [collection.captions(i) for i in range(3)] == [
        Captions((), ("Text.",)),
        Captions(),
        Captions(),
    ]
    assert collection.missing == 2
    assert "(None, None)" in collection.problems[0]


def test_what_changes_on_disk_is_read_again(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", "red")
    path = write(tmp_path / "rows.json", [row("a.png", "old")])
    assert opened(path).captions(0).long == ("old",)
    write(path, [row("a.png", "newer"), row("a.png", "b")])
    assert opened(path).captions(0).long == ("newer", "b")


def test_a_list_of_plain_rows_is_a_table(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", "red")
    path = write(tmp_path / "rows.json", [{"image": "a.png", "long": "Text."}])
    assert opened(path).captions(0) == Captions((), ("Text.",))


def test_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.json", [row("a.png", "x")] * 3)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match=r"rows\.json is damaged after row 2 .*download it again"):
        open_collection(path)


def test_roots_serve_every_kind_of_table(tmp_path: Path) -> None:
    from tests.helpers.table_files import write_jsonl, write_parquet

    write_png(tmp_path / "disk/a.png", "red")
    write_png(tmp_path / "set/b.png", "blue")
    names = ["a.png", "b.png", "c.png"]
    tables = (
        write_jsonl(tmp_path / "set/t.jsonl", *({"image": name, "short": name} for name in names)),
        write_parquet(tmp_path / "set/t.parquet", image=names, short=names),
    )
    for table in tables:
        collection = opened(table, images=[tmp_path / "disk"])
        assert [collection.captions(i).short for i in range(2)] == [("a.png",), ("b.png",)]
        assert [collection.image(i).getpixel((0, 0))[0] for i in range(2)] == [255, 0]  # type: ignore[index]
        assert (len(collection), collection.missing) == (2, 1)
        assert len(opened(table)) == 3, "nothing is left out unless roots are named"
    with pytest.raises(DataError, match=r"there is no folder of pictures .*nowhere; check"):
        open_collection(tables[0], images=[tmp_path / "nowhere"])
    shutil.rmtree(tmp_path / "disk")


def test_columns_beside_a_conversation_are_texts_too(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", "red")
    rows = [row("a.png", "A red wall. It is plain.") | {"caption": "Red.", "note": "A wall."}]
    path = write(tmp_path / "rows.json", rows)
    long = ("A red wall. It is plain.",)
    assert opened(path).captions(0) == Captions(("Red.",), long)
    assert opened(path, columns=Columns(short="note")).captions(0) == Captions(("A wall.",), long)
    with pytest.raises(DataError, match="no column 'nothing'; its columns are id, image, caption"):
        opened(path, columns=Columns(long="nothing"))
