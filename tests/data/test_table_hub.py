"""Tables that `datasets` has saved, and those on the hub."""

from pathlib import Path
from typing import Any

import pytest

from longclip.data import Captions, open_collection
from longclip.errors import DataError
from tests.helpers.table_files import png, write_png

datasets = pytest.importorskip("datasets")


def rows() -> Any:
    return datasets.Dataset.from_dict(
        {"image": [png("red"), png("blue")], "caption": ["one", "two"], "long": ["L.", "M."]}
    )


def test_saved_tables(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path / "saved")
    collection = open_collection(tmp_path / "saved")
    assert (collection.name, len(collection)) == ("saved", 2)
    assert collection.captions(1) == Captions(("two",), ("M.",))
    assert collection.image(0).getpixel((0, 0)) == (255, 0, 0)


def test_a_saved_table_with_a_picture_column(tmp_path: Path) -> None:
    path = str(write_png(tmp_path / "a.png", "red"))
    table = datasets.Dataset.from_dict({"image": [path]}).cast_column("image", datasets.Image())
    table.save_to_disk(tmp_path / "saved")
    assert open_collection(tmp_path / "saved").image(0).size == (5, 4)


def test_of_several_parts_one_is_named(tmp_path: Path) -> None:
    parts = datasets.DatasetDict({"train": rows(), "test": rows().select([0])})
    parts.save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"several parts; name .*: .*saved/test, .*saved/train"):
        open_collection(tmp_path / "saved")
    assert len(open_collection(tmp_path / "saved" / "test")) == 1


def test_a_damaged_one(tmp_path: Path) -> None:
    rows().save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"")
    with pytest.raises(DataError, match=r"saved cannot be read .*save or copy it again"):
        open_collection(tmp_path / "saved")


@pytest.mark.parametrize(
    ("data", "asked"),
    [("some-one/pho.tos", ("some-one/pho.tos", "train")), ("a/b:val", ("a/b", "val"))],
)
def test_hub_names(data: str, asked: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def load(name: str, *, split: str) -> Any:
        found.append((name, split))
        return rows()

    monkeypatch.setattr(datasets, "load_dataset", load)
    collection = open_collection(data)
    assert found == [asked]
    assert (collection.name, collection.captions(0)) == (data, Captions(("one",), ("L.",)))


@pytest.mark.parametrize("data", ["a/photos.parquet", "./a/b", "a/b/c", "photos", Path("a/b")])
def test_paths_are_not_asked_for_on_the_hub(
    data: str | Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", pytest.fail)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no data"):
        open_collection(data)


def test_a_path_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows().save_to_disk("a/b")
    monkeypatch.setattr(datasets, "load_dataset", pytest.fail)
    assert len(open_collection("a/b")) == 2


NOT_FOUND = datasets.exceptions.DatasetNotFoundError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NOT_FOUND("Dataset 'a/b' is a gated dataset on the Hub."), "gated or private; ask for"),
        (NOT_FOUND("Dataset 'a/b' doesn't exist on the Hub"), "doesn't exist.*; check the name"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "no connection .*path or the network"),
        (ValueError("Unknown split \"val\". Should be one of ['train']"), "Unknown split"),
    ],
)
def test_why_the_hub_has_none(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match=says) as raised:
        open_collection("a/b")
    assert "a/b is no path here and could not be had from the Hugging Face hub" in str(raised.value)
