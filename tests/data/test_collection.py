"""The files of pictures, and names for their content."""

import json
from pathlib import Path

import pytest
from PIL import Image

from longclip.data import ScenesCollection, open_collection
from longclip.data.mixture import Joined
from longclip.errors import ImageError


def folder(path: Path, colours: list[str]) -> Path:
    path.mkdir()
    with (path / "rows.jsonl").open("w") as lines:
        for i, colour in enumerate(colours):
            Image.new("RGB", (8, 8), colour).save(path / f"{i}.png")
            lines.write(json.dumps({"image": f"{i}.png", "short": "x"}) + "\n")
    return path / "rows.jsonl"


def test_equal_pictures_have_equal_keys_wherever_they_are(tmp_path: Path) -> None:
    one = open_collection(folder(tmp_path / "one", ["red", "blue", "red"]))
    other = open_collection(folder(tmp_path / "other", ["blue", "green"]))
    assert one.key(0) == one.key(2)
    assert one.key(1) == other.key(0)
    assert len({one.key(0), one.key(1), other.key(1)}) == 3


def test_a_missing_picture_has_none(tmp_path: Path) -> None:
    data = open_collection(folder(tmp_path / "one", ["red"]))
    (tmp_path / "one" / "0.png").unlink()
    for ask in (data.key, data.image_file):
        with pytest.raises(ImageError, match=r"row 0: .*0\.png: No such file"):
            ask(0)


def test_files_are_handed_over_as_they_are(tmp_path: Path) -> None:
    data = open_collection(folder(tmp_path / "one", ["red", "blue"]))
    assert data.image_file(1) == (tmp_path / "one" / "1.png").read_bytes()
    drawn = ScenesCollection("test")
    assert drawn.image_file(0) is None
    both = Joined([data, drawn])
    assert both.image_file(1) == data.image_file(1)
    assert both.image_file(2) is None


def test_scenes() -> None:
    small, large = ScenesCollection("test", image_size=64), ScenesCollection("test")
    keys = {small.key(0), small.key(1), large.key(0), ScenesCollection("val").key(0)}
    assert len(keys) == 4
