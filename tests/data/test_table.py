"""What people have: parquet, JSON lines and folders of pictures."""

import base64
import sys
import unicodedata
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from longclip.data import Captions, Collection, Columns, LabelSet, open_collection
from longclip.errors import DataError, ImageError
from tests.helpers.table_files import COLOURS, png, write_jsonl, write_parquet, write_png

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def colours(collection: Collection) -> list[str]:
    """The names of the colours of all pictures, which must be plain RGB."""
    pictures = [collection.image(i) for i in range(len(collection))]
    assert {picture.mode for picture in pictures} == {"RGB"}
    name_of = {value: name for name, value in COLOURS.items()}
    return [name_of[picture.getpixel((0, 0))] for picture in pictures]  # type: ignore[index]


def test_json_lines_with_paths_beside_them(tmp_path: Path) -> None:
    write_png(tmp_path / "set/a.png", "red")
    write_png(tmp_path / "set/sub/b.png", "blue")
    elsewhere = write_png(tmp_path / "elsewhere.png", "green")
    table = write_jsonl(
        tmp_path / "set/photos.jsonl",
        {"image": "a.png", "short": "one", "long": "A whole story."},
        {"image": "sub/b.png", "short": "two", "long": "Another."},
        {"image": str(elsewhere), "short": "three", "long": "The last."},
    )
    collection = open_collection(table)
    assert collection.name == "set/photos"
    assert len(collection) == 3
    assert colours(collection) == ["red", "blue", "green"]
    assert collection.captions(1) == Captions(("two",), ("Another.",))
    assert collection.label_sets() == ()


@pytest.mark.parametrize("kind", ["a path", "bytes", "struct of bytes", "datasets"])
def test_parquet_with_pictures_of_every_kind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photos.parquet"
    write_png(tmp_path / "0.png", "red")
    values = {
        "a path": ["0.png"],
        "bytes": [png("red")],
        "struct of bytes": [{"bytes": png("red"), "path": "not/there.png"}],
    }
    if kind == "datasets":
        from PIL import Image

        rows = {"image": [Image.new("RGB", (5, 4), "red")]}
        features = datasets.Features({"image": datasets.Image()})
        datasets.Dataset.from_dict(rows, features).to_parquet(path)
    else:
        write_parquet(path, image=values[kind])
    assert colours(open_collection(path)) == ["red"]


def test_a_picture_without_bytes_is_read_from_its_path(tmp_path: Path) -> None:
    write_png(tmp_path / "there.png", "green")
    image = [{"bytes": None, "path": "there.png"}]
    assert colours(open_collection(write_parquet(tmp_path / "t.parquet", image=image))) == ["green"]


def test_captions_are_one_or_many_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    table = write_parquet(
        tmp_path / "t.parquet",
        image=["a.png", "b.png", "c.png", "d.png"],
        captions=[["one", "", "two", "  "], [], None, ["three"]],
        description=["All of it.", "", None, " \n"],
    )
    collection = open_collection(table)
    assert [collection.captions(i) for i in range(4)] == [
        Captions(("one", "two"), ("All of it.",)),
        Captions(),
        Captions(),
        Captions(("three",)),
    ]


def test_reading_captions_does_not_touch_pictures(tmp_path: Path) -> None:
    table = write_jsonl(tmp_path / "t.jsonl", {"image": "gone.png", "text": "a dog"})
    assert open_collection(table).captions(0) == Captions(("a dog",))


def test_usual_names_are_looked_for_in_order(tmp_path: Path) -> None:
    table = write_jsonl(
        tmp_path / "t.jsonl",
        {"text": "t", "caption": "c", "path": "p.png", "description": "d", "long": "l"},
    )
    assert open_collection(table).captions(0) == Captions(("c",), ("l",))


@pytest.mark.parametrize(
    ("image", "short", "long"),
    [("File_Name", " text", "LONG"), ("jpg", "txt", "Description "), ("IMG", "TEXT", "long")],
)
def test_usual_names_may_have_other_cases_and_blanks(
    image: str, short: str, long: str, tmp_path: Path
) -> None:
    table = write_parquet(tmp_path / "t.parquet", **{image: ["a.png"], short: ["s"], long: ["l"]})
    assert open_collection(table).captions(0) == Captions(("s",), ("l",))


def test_what_stands_for_a_text_is_the_same_in_every_container(tmp_path: Path) -> None:
    values = [1984, 1.5, True, float("nan"), date(2024, 1, 31), "None", None, b"caf\xc3\xa9"]
    expected = [("1984",), ("1.5",), ("true",), (), ("2024-01-31",), ("None",), (), ("café",)]
    for i, (value, texts) in enumerate(zip(values, expected, strict=True)):
        path = tmp_path / f"{i}.parquet"
        found = [open_collection(write_parquet(path, image=["a.png"], text=[value]))]
        if not isinstance(value, date | bytes):
            found.append(
                open_collection(write_jsonl(tmp_path / "t.jsonl", {"image": "a", "text": value}))
            )
        assert [one.captions(0) for one in found] == [Captions(texts)] * len(found)


def test_columns_may_be_named(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", "blue")
    table = write_jsonl(
        tmp_path / "t.jsonl",
        {"image": "b.png", "file": "a.png", "alt": "s", "short": "x", "story": "l", "what": "sky"},
    )
    named = Columns(image="file", short="alt", long="story", label="what")
    collection = open_collection(table, columns=named)
    assert colours(collection) == ["blue"]
    assert collection.captions(0) == Captions(("s",), ("l",))
    assert collection.label_sets() == (LabelSet("what", ("sky",), (0,)),)


def test_labels_that_are_words_or_numbers(tmp_path: Path) -> None:
    rows = [{"image": "x.png", "label": label, "n": n} for label, n in (("cat", 10), ("ant", 2))]
    table = write_jsonl(tmp_path / "t.jsonl", *rows)
    assert open_collection(table).label_sets() == (LabelSet("label", ("ant", "cat"), (1, 0)),)
    by_number = open_collection(table, columns=Columns(label="n")).label_sets()
    assert by_number == (LabelSet("n", ("2", "10"), (1, 0)),)


def test_labels_with_names_of_their_own_keep_their_order(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Value("string"), "label": datasets.ClassLabel(names=["zebra", "ant"])}
    )
    rows = {"image": ["a.png", "b.png", "c.png"], "label": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "t.parquet")
    [labels] = open_collection(tmp_path / "t.parquet").label_sets()
    assert labels == LabelSet("label", ("zebra", "ant"), (1, 0, 1))


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_row_without_a_label_is_named(nothing: str | None, tmp_path: Path) -> None:
    rows = [{"image": "x.png", "label": label} for label in ("cat", nothing)]
    collection = open_collection(write_jsonl(tmp_path / "set/t.jsonl", *rows))
    with pytest.raises(DataError, match=r"set/t, row 1: column 'label' has no label; leave"):
        collection.label_sets()


# A picture or class called "test" is a picture or class, and brackets in a path are brackets.
@pytest.mark.parametrize("folder", ["photos", "my test-set [1]*"])
def test_folder_of_classes(folder: str, tmp_path: Path) -> None:
    root = tmp_path / folder
    for name, colour in (("train", "red"), ("boat", "green"), ("test", "blue")):
        write_png(root / name / "0.png", colour)
    collection = open_collection(root)
    assert collection.name == folder
    [labels] = collection.label_sets()
    assert labels.name == "label"
    assert labels.classes == ("boat", "test", "train")
    found = dict(zip(colours(collection), labels.targets, strict=True))
    assert found == {"green": 0, "blue": 1, "red": 2}
    assert collection.captions(0) == Captions()


def test_folder_without_classes_takes_all_pictures(tmp_path: Path) -> None:
    for name, colour in (("holiday", "red"), ("test", "green"), ("val_2", "blue")):
        write_png(tmp_path / "flat" / f"{name}.png", colour)
    collection = open_collection(tmp_path / "flat")
    assert sorted(colours(collection)) == ["blue", "green", "red"]
    assert collection.label_sets() == ()


def test_folder_with_metadata(tmp_path: Path) -> None:
    write_png(tmp_path / "set/deep/a.png", "red")
    write_png(tmp_path / "set/b.png", "blue")
    write_jsonl(
        tmp_path / "set/metadata.jsonl",
        {"file_name": "deep/a.png", "short": ["x", "y"], "long": "Story a."},
        {"file_name": "b.png", "short": ["z"], "long": "Story b."},
    )
    collection = open_collection(tmp_path / "set")
    found = {colour: collection.captions(i) for i, colour in enumerate(colours(collection))}
    assert found == {
        "red": Captions(("x", "y"), ("Story a.",)),
        "blue": Captions(("z",), ("Story b.",)),
    }


def test_what_changes_on_disk_is_read_again(tmp_path: Path) -> None:
    table = write_jsonl(tmp_path / "t.jsonl", {"image": "a.png", "short": "old"})
    assert open_collection(table).captions(0).short == ("old",)
    write_jsonl(table, {"image": "a.png", "short": "new one"}, {"image": "a.png", "short": "b"})
    assert open_collection(table).captions(0).short == ("new one", "b")


def test_a_bad_picture_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(png("red")[:50])
    table = write_jsonl(
        tmp_path / "set/t.jsonl", {"image": "gone.png"}, {"image": None}, {"image": "../broken.png"}
    )
    collection = open_collection(table)
    with pytest.raises(ImageError, match=r"set/t, row 0: .*set/gone\.png: there is no such file"):
        collection.image(0)
    with pytest.raises(ImageError, match=r"set/t, row 1: no picture \(None\)"):
        collection.image(1)
    with pytest.raises(ImageError, match=r"set/t, row 2: .*broken\.png: the image data are"):
        collection.image(2)


def test_a_null_character_in_a_path(tmp_path: Path) -> None:
    collection = open_collection(write_jsonl(tmp_path / "t.jsonl", {"image": "a\0b.png"}))
    for read in (collection.image, collection.image_file):
        with pytest.raises(ImageError, match=r"row 0: .*null (byte|character)"):
            read(0)


def test_a_value_that_is_no_picture_is_shown_in_short(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "t.parquet", image=[b"x" * 9999], number=[3])
    with pytest.raises(ImageError, match="row 0: the image of 9999 bytes: not an image") as error:
        open_collection(table).image(0)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("on_disk", "value"),
    [
        ("a.png", "file://{root}/a.png"),
        ("a b.png", "file://{root}/a%20b.png"),
        ("deep/a.png", "deep\\a.png"),
        ("café/é.png", unicodedata.normalize("NFD", "café/é.png")),
        (unicodedata.normalize("NFD", "café/é.png"), "café/é.png"),
        ("a\\b.png", "a\\b.png"),
        (None, base64.b64encode(png("red")).decode()),
        (None, f"data:image/png;base64,{base64.encodebytes(png('red')).decode()}"),
    ],
)
@pytest.mark.parametrize("roots", [0, 1])
def test_pictures_as_other_programs_name_them(
    on_disk: str | None, value: str, roots: int, tmp_path: Path
) -> None:
    if on_disk:
        write_png(tmp_path / on_disk, "red")
    row = {"image": value.replace("{root}", str(tmp_path)), "text": "x"}
    path = write_jsonl(tmp_path / "t.jsonl", row, row | {"text": "y"})
    (tmp_path / "other").mkdir()
    collection = open_collection(path, images=[tmp_path / "other"][:roots])
    assert colours(collection) == ["red"]
    assert (collection.captions(0).short, collection.problems) == (("x", "y"), ())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [None, "https://x.org/a.jpg"],
            r"'image' holds addresses \(https://x.org/a.jpg\)",
        ),
        ([None, "s3://bucket/a.jpg"], "longclip fetches no pictures; download them"),
        ([None, 3], "column 'image' holds values of type int64, .* another of image with --image-"),
        ([None, ["a.jpg", "b.jpg"]], "'image' holds several values a row, not one picture"),
        ([None, {"url": "x"}], "'image' holds several values a row"),
    ],
)
def test_a_column_that_holds_no_pictures(values: list[Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        open_collection(write_parquet(tmp_path / "t.parquet", image=values))


def write_invalid(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "no_image.jsonl", {"photo": "a.png", "size": 3})
    write_parquet(tmp_path / "laion.parquet", URL=["http://x/0.jpg"], TEXT=["a dog"])
    write_parquet(tmp_path / "cut.parquet", image=["a.png"] * 99)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    (tmp_path / "cut.jsonl").write_text('{"image": "a.png"}\n{"image": ')
    for name in ("table.html", "table.csv.gz", "table.xlsx", "captions.txt"):
        (tmp_path / name).write_text("image\na.png\n")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "header.csv").write_text("image,text\n")
    write_parquet(tmp_path / "no_rows.parquet", image=[], text=[])
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no pictures here")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_image.jsonl", r"no_image has no image column among photo, size;.*--image-column"),
        ("laion.parquet", "no image column among URL, TEXT; .*addresses have to be downloaded"),
        ("cut.parquet", r"cut\.parquet cannot be read as parquet: .*[Pp]arquet"),
        ("cut.jsonl", r"cut\.jsonl, line 2, is damaged JSON .*; copy or download it again"),
        ("table.html", r"table\.html is not data longclip reads: a \.csv, \.tsv, \.jsonl or"),
        ("table.csv.gz", r"table\.csv\.gz is packed; unpack it first"),
        ("table.xlsx", r"table\.xlsx is a spreadsheet; save it as CSV"),
        ("captions.txt", r"captions\.txt is a text file; call it \.csv if its first line names"),
        ("empty.jsonl", r"empty\.jsonl is empty"),
        ("blank.jsonl", r"blank has no rows"),
        ("header.csv", r"header has no rows"),
        ("no_rows.parquet", r"no_rows has no rows"),
        ("texts", r"texts holds no pictures but 1 \.txt; name a file"),
        ("gone.parquet", r"no data '.*gone\.parquet': neither a file, a folder nor `scenes`"),
    ],
)
def test_data_that_cannot_be_used(
    name: str, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_invalid(tmp_path)
    with pytest.raises(DataError, match=says):
        open_collection(tmp_path / name)
    assert capfd.readouterr() == ("", ""), "the exception says it all"


@pytest.mark.parametrize("role", ["image", "short", "long", "label"])
def test_a_column_that_is_not_there(role: str, tmp_path: Path) -> None:
    table = write_jsonl(tmp_path / "set/t.jsonl", {"image": "a.png", "short": "a"})
    with pytest.raises(DataError, match="set/t has no column 'nope'; its columns are image, short"):
        open_collection(table, columns=Columns(**{role: "nope"}))


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'longclip\[train\]'"):
        open_collection(tmp_path)


@pytest.mark.parametrize("roles", [("short", "long"), ("image", "short"), ("image", "label")])
def test_a_column_that_is_named_twice(roles: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,text\na.jpg,A dog\n")
    with pytest.raises(DataError, match=f"--{roles[0]}-column, --{roles[1]}-column all name"):
        open_collection(tmp_path / "t.csv", columns=Columns(**dict.fromkeys(roles, "text")))
