"""Rows of CSV, TSV and JSON files: the same texts, whatever they look like."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.data import json_files
from longclip.data.tables import rows as rows_module
from longclip.data.tables.rows import read_rows, read_table
from longclip.errors import DataError

LOOK_LIKE_VALUES = [
    "NA",
    "None",
    "null",
    "nan",
    "N/A",
    "true",
    "False",
    "1984",
    "1.50",
    "2024-01-01",
]


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def table(path: Path) -> dict[str, list[object]]:
    return read_table(path).to_pydict()  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_texts_stay_what_they_are(suffix: str, tmp_path: Path) -> None:
    path, columns = tmp_path / f"t.{suffix}", [{"text": text} for text in LOOK_LIKE_VALUES]
    if suffix == "json":
        write(path, json.dumps(columns))
    elif suffix == "jsonl":
        write(path, "".join(json.dumps(row) + "\n" for row in columns))
    else:
        write(path, "\n".join(["text", *LOOK_LIKE_VALUES]))
    assert table(path) == {"text": LOOK_LIKE_VALUES}


def test_numbers_of_json_are_the_texts_that_stand_there(tmp_path: Path) -> None:
    values = f'1984, 1.50, -1e5, true, false, null, NaN, {{"raw": 1}}, {"7" * 5000}'
    lines = "".join(f'{{"text": {value}}}\n' for value in values.split(", "))
    expected = ["1984", "1.50", "-1e5", "true", "false", None, None, None, "7" * 5000]
    assert table(write(tmp_path / "t.jsonl", lines)) == {"text": expected}
    as_list = f"[{lines.replace('}', '},')}{{}}]".replace("},,", "},").replace("},}", "}}")
    assert json.loads(as_list.replace("7" * 5000, "7"))
    assert table(write(tmp_path / "t.json", as_list)) == {"text": [*expected, None]}


ROWS = [{"image": "a.jpg", "text": 'A "dog", asleep.'}, {"image": "b.jpg", "text": "Two\nlines"}]


def separated(delimiter: str, line_end: str) -> str:
    lines = ["image,text", 'a.jpg,"A ""dog"", asleep."', 'b.jpg,"Two\nlines"', ""]
    return (
        "\n".join(lines)
        .replace(".jpg,", f".jpg{delimiter}")
        .replace("image,", f"image{delimiter}")
        .replace("\n", line_end)
    )


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "image,text\na.jpg,Un café\n", encoding)
    assert list(read_rows(path)) == [{"image": "a.jpg", "text": "Un café"}]
    line = json.dumps({"image": "a.jpg", "text": "Un café"}, ensure_ascii=False)
    for suffix, text in (("jsonl", line), ("json", f"[{line}]")):
        assert list(read_rows(write(tmp_path / f"t.{suffix}", text, encoding))) == [
            {"image": "a.jpg", "text": "Un café"}
        ]


def test_an_encoding_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "image,text\na.jpg,Un café\n", "latin-1")
    with pytest.raises(DataError, match=r"t\.csv is not UTF-8 text .*save it as UTF-8"):
        list(read_rows(path))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".CSV"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(
    suffix: str, delimiter: str, line_end: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"t{suffix}", separated(delimiter, line_end))
    assert list(read_rows(path)) == ROWS


def test_quotes_of_two_rows_with_tabs_do_not_join_them(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", 'image\ttext\na.jpg\t"A sign\nb.jpg\tA cat\nc.jpg\tends"\n')
    assert [row["text"] for row in read_rows(path)] == ['"A sign', "A cat", 'ends"']
    path = write(tmp_path / "u.tsv", 'image\ttext\na.jpg\t"Two\nlines"\n')
    assert [row["text"] for row in read_rows(path)] == ["Two\nlines"]


def test_quotes_in_a_file_with_tabs_may_be_nothing_but_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", 'image\ttext\na.jpg\t"No," he said.\nb.jpg\t5" wide\n')
    assert table(path)["text"] == ['"No," he said.', '5" wide']


def test_blanks_around_names_and_values(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'image , text\na.jpg, "A dog, asleep"\n\n , \nb.jpg\n')
    assert list(read_rows(path)) == [
        {"image": "a.jpg", "text": "A dog, asleep"},
        {"image": "b.jpg", "text": None},
    ]


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2), max_size=5)
)
def test_what_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "text"], *texts])

    def lines(text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n").lstrip(" ")

    found = [list(row.values()) for row in read_rows(path)]
    assert found == [[lines(text) for text in row] for row in texts if any(map(lines, row))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,text\na.jpg,A dog, asleep\n", r"line 2: 3 values, .* 2 columns \(image, text\);"),
        ('image,text\na.jpg,"A "dog" here"\n', "line 2 cannot be read .*double the quotes"),
        ('image,text\na.jpg,"A dog\nb.jpg,A cat\n', "line 3 cannot be read .*close it"),
        ("a.jpg,A dog\nb.jpg,A cat\n", r"first line \(a\.jpg, A dog\) is a row; put one before"),
        ("image,text,text\na.jpg,A dog,A cat\n", "first line names 'text' twice"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        list(read_rows(write(tmp_path / "t.csv", text)))


@pytest.mark.parametrize("before", ["\n\n", " \n", ",,,\n"])
def test_blank_lines_before_the_names_and_separators_behind_them(
    before: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.csv", f"{before}image,text,,\na.jpg,A dog,,\nb.jpg,A cat\n")
    assert list(read_rows(path)) == [
        {"image": "a.jpg", "text": "A dog"},
        {"image": "b.jpg", "text": "A cat"},
    ]
    path = write(tmp_path / "u.csv", "image,text,\na.jpg,A dog,asleep\n")
    with pytest.raises(DataError, match=r"line 2: 3 values, .* 2 columns"):
        list(read_rows(path))


@pytest.mark.parametrize("behind", ["[{}]", " {}", "\n\n]", "," + " " * 5000 + "x"])
def test_nothing_behind_a_list_is_passed_over(
    behind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "_READ_CHARACTERS", 10)
    text = '[{"image": "a.jpg"}]'
    path = write(tmp_path / "t.json", text + " \n" * 50)
    assert list(read_rows(path)) == [{"image": "a.jpg"}]
    with pytest.raises(DataError, match=r"t\.json goes on behind its list of 1 rows"):
        list(read_rows(write(path, text + behind)))


def test_half_a_surrogate_pair_costs_one_character(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", '{"text": "bad \\ud83d half"}\n{"text": "\\ud83d\\ude00"}\n')
    assert table(path) == {"text": ["bad \ufffd half", "\U0001f600"]}


def test_a_list_of_one_is_a_text_and_one_of_several_makes_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", 2)
    lines = [
        {"image": ["a.jpg"], "text": "one"},
        {"image": [], "text": None},
        {"image": "c.jpg", "text": ["two", None, ["x"], 3]},
        {"image": {"path": "d.jpg", "bytes": None}, "late": "new"},
    ]
    path = write(tmp_path / "t.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert table(path) == {
        "image": ["a.jpg", None, "c.jpg", "d.jpg"],
        "text": [["one"], [None], ["two", None, None, "3"], None],
        "late": [None, None, None, "new"],
    }


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_conversations_are_rows_with_a_long_text(name: str, tmp_path: Path) -> None:
    turns = [{"value": "Describe."}, {"value": "A dog.\nIt runs."}]
    rows = [
        {"image": "a.jpg", "conversations": turns, "caption": "A dog."},
        {"image": "b.jpg", "conversations": None, "caption": "A cat."},
    ]
    text = json.dumps(rows) if name == "t.json" else "\n".join(map(json.dumps, rows))
    assert list(read_rows(write(tmp_path / name, text))) == [
        {"image": "a.jpg", "long": "A dog. It runs.", "caption": "A dog."},
        {"image": "b.jpg", "caption": "A cat."},
    ]


@pytest.mark.parametrize("text", ["null", "3\n", "[1, 2]", '["a"]', '[["a"]]'])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_rows_that_are_no_objects(text: str, suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t.{suffix}", text)
    with pytest.raises(DataError, match=r"its rows have 0 columns; write each as an object"):
        read_table(path)


def test_keys_that_are_values_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", json.dumps({f"{i}.jpg": "A dog." for i in range(1001)}))
    with pytest.raises(DataError, match="its rows have 1,001 columns"):
        read_table(path)


def test_a_large_file_is_read_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(rows_module, "_LARGE_BYTES", 0)
    path = write(tmp_path / "t.csv", "image,text\na.jpg,old\n")
    assert table(path) == {"image": ["a.jpg"], "text": ["old"]}
    with monkeypatch.context() as patch:
        patch.setattr(rows_module, "read_rows", pytest.fail)
        assert table(path)["text"] == ["old"]
    write(path, "image,text\na.jpg,newer\n")
    assert table(path)["text"] == ["newer"]
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == 1


def test_of_large_files_those_read_longest_ago_leave_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(rows_module, "_LARGE_BYTES", 0)
    paths = [write(tmp_path / f"{name}.csv", f"text\n{name}\n") for name in "abc"]
    for number, path in enumerate(paths[:2]):
        read_table(path)
        for kept in (tmp_path / "cache").rglob("*.arrow"):
            os.utime(kept, (number, number))
    os.utime(next((tmp_path / "cache").rglob("*.arrow")), (2, 2))
    read_table(paths[0])  # now it is the one that was used last
    size = next((tmp_path / "cache").rglob("*.arrow")).stat().st_size
    monkeypatch.setattr(rows_module, "_MAX_KEPT_BYTES", 2 * size)
    read_table(paths[2])
    with monkeypatch.context() as patch:
        patch.setattr(rows_module, "read_rows", lambda path: pytest.fail(f"{path} is read again"))
        assert [table(path)["text"] for path in (paths[0], paths[2])] == [["a"], ["c"]]
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == 2
