"""Names and paths of data, and several of them as one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longclip.data import (
    Captions,
    Collection,
    LabelSet,
    ScenesCollection,
    join,
    open_collection,
    open_for_evaluation,
)
from longclip.data.mixture import Joined
from longclip.data.names import SCENE_SPLITS
from longclip.data.open import open_training_data
from longclip.errors import DataError
from tests.helpers.table_files import write_jsonl, write_parquet, write_png


@dataclass(frozen=True)
class Numbered(Collection):
    """Image i is i pixels wide."""

    name: str
    size: int

    def __len__(self) -> int:
        return self.size

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (range(self.size)[index] + 1, 1))

    def key(self, index: int) -> str:
        return str(range(self.size)[index])

    def captions(self, index: int) -> Captions:
        return Captions((f"{self.name} {range(self.size)[index]}",))

    def label_sets(self) -> tuple[LabelSet, ...]:
        return (LabelSet("parity", ("even", "odd"), tuple(i % 2 for i in range(self.size))),)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=5))
def test_joined_collections_follow_each_other(sizes: list[int]) -> None:
    parts = [Numbered(f"part{number}", size) for number, size in enumerate(sizes)]
    joined = join(parts)
    everything = [(part, i) for part in parts for i in range(len(part))]
    assert len(joined) == len(everything)
    for index, (part, inner) in enumerate(everything):
        assert joined.captions(index) == part.captions(inner)
        assert joined.image(index).width == inner + 1
    with pytest.raises(IndexError):
        joined.captions(len(everything))
    assert joined.label_sets() == ()
    assert joined.name == " + ".join(part.name for part in parts)


def test_one_collection_stays_what_it_is() -> None:
    part = Numbered("only", 3)
    assert join([part]) is part
    assert not isinstance(join([part]), Joined)


@pytest.mark.parametrize("split", SCENE_SPLITS)
def test_scenes_by_name(split: str) -> None:
    for collection in (open_collection(f"scenes/{split}"), open_collection("scenes", split=split)):
        assert isinstance(collection, ScenesCollection)
        assert collection.name == f"scenes/{split}"
    assert open_collection(f"scenes/{split}", split="train").name == f"scenes/{split}"


def test_scenes_are_for_training_unless_said_otherwise() -> None:
    assert open_collection("scenes").name == "scenes/train"


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("scenes", ["scenes/test", "scenes/test-short"]),
        ("scenes/test-short", ["scenes/test-short"]),
        ("scenes/val", ["scenes/val"]),
    ],
)
def test_scenes_are_measured_on_both_tests(data: str, names: list[str]) -> None:
    assert [collection.name for collection in open_for_evaluation(data)] == names


def test_unknown_split() -> None:
    with pytest.raises(DataError, match=r"no split 'tset', only train, .*test, test-short"):
        open_collection("scenes/tset")


@pytest.mark.parametrize("container", ["csv", "jsonl", "parquet", "folder"])
def test_rows_without_a_text_are_left_out_of_training_and_evaluation(
    container: str, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    texts: list[Any] = ["A dog.", "", None, " ", ["A cat.", None]]
    if container == "csv":
        texts[4] = "A cat."
    path, columns = tmp_path / f"t.{container}", [f"{i}.png" for i in range(5)]
    for name in columns:
        write_png(tmp_path / "t" / name, "red")
    rows = [{"image": f"t/{name}", "text": text} for name, text in zip(columns, texts, strict=True)]
    if container == "csv":
        path.write_text("image,text\n" + "".join(f"{r['image']},{r['text'] or ''}\n" for r in rows))
    elif container == "jsonl":
        write_jsonl(path, *rows)
    elif container == "parquet":
        as_lists = [[text] if isinstance(text, str) else text for text in texts]
        write_parquet(path, image=[row["image"] for row in rows], text=as_lists)
    else:
        path = tmp_path / "t"
        for i, text in enumerate(texts[:2]):
            (path / f"{i}.txt").write_text(text)
        (path / "4.txt").write_text("A cat.")
    for collection in (open_training_data([path]), *open_for_evaluation(path)):
        assert [collection.captions(i).short for i in range(2)] == [("A dog.",), ("A cat.",)]
        assert (len(collection), collection.missing) == (2, 3)
        [problem] = collection.problems
        assert problem.startswith("3 of 5 rows left out: no text in ")
        assert problem.endswith("(row 1, 2, 3)")
    assert len(open_collection(path)) == 5, "images without a text can be searched"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("image,title", "t has no texts, only the columns image, title; name .*--short-column or"),
        ("image,text", "t has no texts in 'text', only the columns image, text; name the one with"),
        ("image,label", "t has no texts, only the columns image, label; name the one with texts"),
    ],
)
def test_data_without_texts_cannot_be_trained_on(header: str, says: str, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_png(tmp_path / "a.png", "red")
    value = "" if header.endswith("text") else "dog"
    (tmp_path / "t.csv").write_text(f"{header}\na.png,{value}\na.png,{value}\n")
    with pytest.raises(DataError, match=says):
        open_training_data([tmp_path / "t.csv"])


def test_a_folder_of_pictures_alone_says_where_texts_would_be(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_png(tmp_path / "set" / "a.png", "red")
    with pytest.raises(DataError, match=r"set has no texts, .*put a text beside each picture"):
        open_training_data([tmp_path / "set"])


@pytest.mark.parametrize("path", ["./scenes", Path("scenes")])
def test_a_path_called_scenes_is_a_path(
    path: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for opened in (open_collection, open_for_evaluation):
        with pytest.raises(DataError, match="no data"):
            opened(path)
    (tmp_path / "scenes").mkdir()
    Image.new("RGB", (3, 3)).save(tmp_path / "scenes" / "own.png")
    collection = open_collection(path)
    assert (collection.name, len(collection)) == ("scenes", 1)
    monkeypatch.chdir(tmp_path / "scenes")
    assert open_collection(".").name == "scenes"
