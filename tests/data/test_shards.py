"""Tar shards read at any place."""

import json
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from longclip.data import Captions, Collection, Columns, ShardCache, open_collection
from longclip.data.names import expand_braces
from longclip.data.open import open_for_evaluation, open_training_data
from longclip.data.tar.members import WITH_HOLES
from longclip.data.tar.samples import scan
from longclip.data.tar.shard_list import find_shards
from longclip.data.tar.shards import ShardCollection
from longclip.errors import DataError, ImageError
from tests.helpers.shard_files import samples, write_tar
from tests.helpers.table_files import COLOURS, png

LONG = "A long story. " * 30


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache")


def opened(data: str | Path, cache: ShardCache) -> ShardCollection:
    collection = open_collection(data, cache=cache)
    assert isinstance(collection, ShardCollection)
    return collection


def colours(collection: Collection) -> list[str]:
    name_of = {value: name for name, value in COLOURS.items()}
    return [name_of[collection.image(i).getpixel((0, 0))] for i in range(len(collection))]  # type: ignore[index]


def two_shards(folder: Path) -> None:
    write_tar(folder / "part-000.tar", samples("red", "green"))
    write_tar(folder / "part-001.tar", samples("blue", "red", "green"))


@pytest.mark.parametrize("data", ["part-{000..001}.tar", "part-*.tar", "part-00{0,1}.tar", "."])
def test_shards_by_range_pattern_and_folder(
    data: str, tmp_path: Path, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_shards(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    collection = opened(data, cache)
    assert colours(collection) == ["red", "green", "blue", "red", "green"]
    assert collection.captions(2) == Captions(("something blue",))
    assert collection.blocks() == [range(2), range(2, 5)]
    assert collection.name == "part-000 … (2 shards)"
    assert collection.problems == ()
    assert collection.key(0) == collection.key(3) != collection.key(1)
    with pytest.raises(IndexError):
        collection.image(5)


@given(
    st.lists(st.sampled_from(["a", "b{1}", "{x,y}", "{8..11}", "{08..11}", "{0..0}"]), max_size=3)
)
def test_braces(pieces: list[str]) -> None:
    choices = {
        "{x,y}": ["x", "y"],
        "{8..11}": ["8", "9", "10", "11"],
        "{08..11}": ["08", "09", "10", "11"],
        "{0..0}": ["0"],
        "b{1}": ["b1"],
    }
    expected = [""]
    for piece in pieces:
        expected = [e + choice for e in expected for choice in choices.get(piece, [piece])]
    assert expand_braces("".join(pieces)) == expected


def test_a_range_that_goes_down() -> None:
    with pytest.raises(DataError, match=r"\{9\.\.1\} is no range of numbers that go up"):
        expand_braces("part-{9..1}.tar")


@pytest.mark.parametrize(
    "name",
    ["a{000000..999999}{0..1}.tar", "{a,b}" * 40, f"{{{'1' * 5000}..2}}", f"{{0..{'9' * 5000}}}"],
)
def test_braces_that_stand_for_too_many_names(name: str) -> None:
    with pytest.raises(DataError, match=r"more than 1,000,000 names|no range of numbers"):
        expand_braces(name)
    assert expand_braces("{a}" * 5000) == ["a" * 5000]


def test_members_are_grouped_as_webdataset_does(tmp_path: Path, cache: ShardCache) -> None:
    path = write_tar(
        tmp_path / "t.tar",
        {
            "__meta__": b"x",
            "a/01.left.JPG": png("red"),
            "a/01.txt": b"red",
            "a/01.cls": b"3",
            "a/01.pickle": b"never read",
            "b/01.png": png("green"),
            "b/01.seg.png": png("blue"),
            "c/02.txt": b"no picture",
            "c/03.webp": png("blue"),
        },
    )
    collection = opened(path, cache)
    assert colours(collection) == ["red", "green", "blue"]
    texts = [collection.captions(i) for i in range(3)]
    assert texts == [Captions(("red",)), Captions(), Captions()]
    assert collection.missing == 2, "__meta__ and c/02"
    assert collection.problems == (
        "2 members left out, without a picture: __meta__, c/02.txt",
        "1 member left out, further pictures of samples: b/01.seg.png",
    )
    assert collection.label_sets() == ()


def test_texts(tmp_path: Path, cache: ShardCache) -> None:
    def sample(number: int, text: str | None, **fields: object) -> dict[str, bytes]:
        members = {f"{number}.png": png("red"), f"{number}.json": json.dumps(fields).encode()}
        return members | ({f"{number}.txt": text.encode()} if text is not None else {})

    path = write_tar(
        tmp_path / "t.tar",
        sample(0, LONG, caption=LONG, width=5)  # as img2dataset writes it
        | sample(1, "one", captions=["two", "one"], description="Long.")
        | sample(2, None, short="s", long=["l", "m"])
        | {"3.png": png("red"), "3.txt": b"\xef\xbb\xbfcaf\xc3\xa9\n", "3.json": b"{damaged"}
        | sample(4, " \n", caption=None)
        | sample(5, "t", alt="given name")
        | sample(6, None, caption="s", conversations=[{"value": "?"}, {"value": "l"}]),
    )
    collection = opened(path, cache)
    assert [collection.captions(i) for i in range(7)] == [
        Captions((), (LONG.strip(),)),
        Captions(("one", "two"), ("Long.",)),
        Captions(("s",), ("l", "m")),
        Captions(("café",)),
        Captions(),
        Captions(("t",)),
        Captions(("s",), ("l",)),
    ]
    named = open_collection(path, columns=Columns(long="alt"), cache=cache)
    assert named.captions(5) == Captions(("t",), ("given name",))


def test_long_names_and_formats(tmp_path: Path) -> None:
    name = "folder/" * 30 + "ü" * 40
    for number, kind in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=kind) as tar:
            for colour in ("red", "blue"):
                (tmp_path / "x").write_bytes(png(colour))
                tar.add(tmp_path / "x", f"{name}{colour}.png")
            tar.add(tmp_path / "x", "folder-entry", recursive=False)
        index = scan(path)
        assert (len(index), index.damage) == (2, "")
        content = path.read_bytes()
        for number, colour in enumerate(("red", "blue")):
            first, size = index.picture(number)
            assert content[first : first + size] == png(colour)


@pytest.mark.skipif(not shutil.which("tar"), reason="writes with the tar of the system")
def test_files_with_holes_are_left_out_and_named(tmp_path: Path) -> None:
    for name, size in (("1.png", 1 << 20), ("2.png", 0)):
        with (tmp_path / name).open("wb") as file:
            file.write(png("red"))
            file.truncate(size or len(png("red")))
    command = ["tar", "-S", "--format=gnu", "-cf", "t.tar", "1.png", "2.png"]
    if subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("another kind of tar")
    index = scan(tmp_path / "t.tar")
    if len(index) == 2:
        pytest.skip("a file system without holes")
    assert [index.picture(i)[1] for i in range(len(index))] == [len(png("red"))]
    assert (index.left_out, index.damage) == ({WITH_HOLES: (1, ["1.png"])}, "")


@given(cut=st.integers(1, 13 * 512))
@example(cut=2048 + 512 + len(png("red")))
@example(cut=2048 + 512 + len(png("green")))
def test_of_a_tar_that_is_cut_off_the_whole_samples_are_used(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "t.tar"
    colours = ("red", "green", "blue")
    path.write_bytes(write_tar(path, samples(*colours)).read_bytes()[:cut])
    # A picture counts where it is wholly there, with or without the padding behind it.
    complete = sum(cut >= 2048 * n + 512 + len(png(colour)) for n, colour in enumerate(colours))
    try:
        index = scan(path)
    except DataError:
        assert not complete
        return
    assert len(index) == complete
    # Without its last blocks of zeros nobody knows that a file is whole.
    assert ("cut off or damaged after" in index.damage) is (cut < 13 * 512)


def test_damage_in_the_middle_is_told_of(tmp_path: Path, cache: ShardCache) -> None:
    path = write_tar(tmp_path / "t.tar", samples("red", "green", "blue"))
    content = bytearray(path.read_bytes())
    content[4096:4608] = random.Random(0).randbytes(512)
    path.write_bytes(content)
    write_tar(tmp_path / "u.tar", samples("blue"))
    collection = opened(str(tmp_path / "{t,u}.tar"), cache)
    assert colours(collection) == ["red", "green", "blue"]
    [line] = collection.problems
    assert "t.tar is cut off or damaged after 4,096 of" in line
    again = opened(str(tmp_path / "{t,u}.tar"), cache)
    assert again.problems == (line,), "also where its index is known already"


@pytest.mark.parametrize("content", [b"", b"hello" * 500, bytes(10_240), b"\x1f\x8b" + b"x" * 900])
def test_what_is_no_shard(content: bytes, tmp_path: Path, cache: ShardCache) -> None:
    (tmp_path / "t.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"no pictures in t: (.*is no tar file|there is no \.jpg)"):
        open_collection(tmp_path / "t.tar", cache=cache)
    write_tar(tmp_path / "u.tar", samples("blue"))
    both = opened(str(tmp_path / "{t,u}.tar"), cache)
    assert colours(both) == ["blue"]
    assert all("t.tar is no tar file" in line for line in both.problems)


def test_no_shards(tmp_path: Path, cache: ShardCache) -> None:
    write_tar(tmp_path / "part-000.tar", samples("red"))
    with pytest.raises(DataError, match=r"no shard '.*part-001\.tar'; check the path, or the"):
        open_collection(str(tmp_path / "part-{000..001}.tar"), cache=cache)


def test_a_picture_that_is_damaged_is_named(tmp_path: Path, cache: ShardCache) -> None:
    path = write_tar(tmp_path / "t.tar", {"1.png": png("red"), "2.png": png("red")[:40]})
    with pytest.raises(ImageError, match=r"t\.tar, sample 1: .*not an image|damaged"):
        opened(path, cache).image(1)


def test_a_shard_that_goes_away_or_shrinks(tmp_path: Path, cache: ShardCache) -> None:
    path = write_tar(tmp_path / "t.tar", samples("red", "green"))
    collection = opened(path, cache)
    assert colours(collection) == ["red", "green"]
    path.write_bytes(path.read_bytes()[:2200])
    with pytest.raises(ImageError, match="sample 1: the shard has been cut off"):
        collection.image(1)
    path.unlink()
    with pytest.raises(ImageError, match=r"t\.tar, sample 0: .*No such file"):
        collection.captions(0)


def test_known_sizes_save_reading_the_shards(
    tmp_path: Path, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_shards(tmp_path)
    (tmp_path / "sizes.json").write_text('{"part-000.tar": 2, "part-001.tar": 4}')
    read: list[Path] = []

    def counting(path: Path, columns: Columns | None = None) -> object:
        assert columns is None, "no text is read, either"
        read.append(path)
        return scan(path, columns)

    monkeypatch.setattr("longclip.data.tar.shards.scan", counting)
    collection = opened(str(tmp_path / "part-{000..001}.tar"), cache)
    assert (len(collection), read) == (6, [])
    assert collection.image(4).size == (5, 4)
    assert [path.name for path in read] == ["part-001.tar"]
    with pytest.raises(ImageError, match=r"has 3 samples with pictures, not 4 as its sizes"):
        collection.image(5)
    opened(str(tmp_path / "part-{000..001}.tar"), cache).image(4)
    assert len(read) == 1, "the index is kept"


def test_an_index_file_lists_shards(tmp_path: Path, cache: ShardCache) -> None:
    two_shards(tmp_path / "set")
    rows = [{"url": "set/part-001.tar", "nsamples": 3}, {"url": "set/part-000.tar"}]
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"wids_version": 1, "shardlist": rows}))
    assert colours(opened(index, cache)) == ["blue", "red", "green", "red", "green"]
    assert [shard.samples for shard in find_shards(str(index), cache)] == [3, None]
    index.write_text('{"wids_version": 1, "shardlist": []}')
    with pytest.raises(DataError, match="its `shardlist` is missing or empty"):
        open_collection(index, cache=cache)


def test_during_training_a_shard_that_is_none_is_bad_items(
    tmp_path: Path, cache: ShardCache
) -> None:
    (tmp_path / "t.tar").write_bytes(b"<html>moved</html>")
    (tmp_path / "sizes.json").write_text('{"t.tar": 2}')
    collection = opened(tmp_path / "t.tar", cache)
    for read in (collection.image, collection.captions, collection.key):
        with pytest.raises(ImageError, match=r"t\.tar, sample 1: .*is no tar file"):
            read(1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"sizes\.json is damaged JSON"),
        ("9" * 5000, r"sizes\.json is damaged JSON"),
        ("[" * 100_000, r"sizes\.json is damaged JSON"),
        ("[1]", "is not {"),
    ],
)
def test_damaged_sizes(text: str, says: str, tmp_path: Path, cache: ShardCache) -> None:
    two_shards(tmp_path)
    (tmp_path / "sizes.json").write_text(text)
    with pytest.raises(DataError, match=says):
        open_collection(str(tmp_path / "part-*.tar"), cache=cache)


def test_a_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    two_shards(tmp_path / "set")
    (tmp_path / "file").touch()
    collection = opened(tmp_path / "set", ShardCache(tmp_path / "file" / "cache"))
    assert len(collection) == 5


def test_samples_without_a_text_are_left_out_of_training_and_evaluation(
    tmp_path: Path, cache: ShardCache
) -> None:
    members = samples("red", "green", "blue", "red")
    del members["0000.txt"]
    members["0002.txt"] = b""
    write_tar(tmp_path / "set" / "0.tar", members)
    write_tar(tmp_path / "set" / "1.tar", samples("blue"))
    training = open_training_data([tmp_path / "set"], cache=cache)
    for collection in (training, *open_for_evaluation(tmp_path / "set")):
        assert colours(collection) == ["green", "red", "blue"]
        assert [collection.captions(i).short for i in range(3)] == [
            ("something green",),
            ("something red",),
            ("something blue",),
        ]
        assert collection.blocks() == [range(2), range(2, 3)]
        assert collection.missing == 2
        [problem] = collection.problems
        assert problem.endswith("2 of 5 samples left out, without a text: 0000.png, 0002.png")
    assert len(opened(tmp_path / "set", cache)) == 5, "images without a text can be searched"


def test_blank_texts_and_broken_json_are_no_texts(tmp_path: Path, cache: ShardCache) -> None:
    members: dict[str, bytes] = {}
    about = {"url": "https://example.org/1", "width": 5}  # as img2dataset writes it
    for name, text, fields in (
        ("0", b" \n", json.dumps({"caption": " ", **about}).encode()),
        ("1", None, b'{"caption": "a dog"'),
        ("2", None, b'["a dog"]'),
        ("3", None, json.dumps({"caption": None, **about}).encode()),
        ("4", None, json.dumps({"caption": "a dog", **about}).encode()),
        ("5", b"a cat", b"{broken"),
        ("6", None, json.dumps({"alt": "a bird", **about}).encode()),
    ):
        members |= {f"{name}.png": png("red"), f"{name}.json": fields}
        members |= {} if text is None else {f"{name}.txt": text}
    path = write_tar(tmp_path / "t.tar", members)
    for _ in range(2):  # the second time from the cache
        collection = open_training_data([path], cache=cache)
        assert [collection.captions(i).short for i in range(len(collection))] == [
            ("a dog",),
            ("a cat",),
        ]
        assert collection.missing == 5
        assert [problem.removeprefix("t: ") for problem in collection.problems] == [
            "3 members left out, no JSON objects that can be read: 1.json, 2.json, 5.json",
            "5 of 7 samples left out, without a text: 0.png, 1.png, 2.png, …",
        ]
    named = open_training_data([path], columns=Columns(short="alt"), cache=cache)
    assert [named.captions(i).short for i in range(len(named))] == [("a cat",), ("a bird",)]
    assert len(opened(path, cache)) == 7, "images without a text can be searched"


def test_shards_without_any_text_cannot_be_trained_on(tmp_path: Path, cache: ShardCache) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.png": png("red"), "2.png": png("blue"), "2.txt": b""})
    with pytest.raises(DataError, match=r"^a has no texts: no .*, as 1.jpg and 1.txt"):
        open_training_data([path], cache=cache)
    [collection] = open_for_evaluation(path)
    assert (len(collection), collection.missing) == (2, 0), "as of a table without texts"


@pytest.mark.parametrize("count", [-1, 10**30, "five", 1.5, True])
def test_a_number_of_samples_that_is_none(count: object, tmp_path: Path, cache: ShardCache) -> None:
    write_tar(tmp_path / "a.tar", {"0.jpg": b"x", "0.txt": b"a dog"})
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"shardlist": [{"url": "a.tar", "nsamples": count}]}))
    with pytest.raises(DataError, match=r"`nsamples` of a\.tar is .*, must be a whole number"):
        find_shards(str(index), cache)
    (tmp_path / "sizes.json").write_text(json.dumps({"a.tar": count}))
    with pytest.raises(DataError, match=r"sizes\.json: a\.tar is .*, must be a whole number"):
        find_shards(str(tmp_path / "a.tar"), cache)


def test_an_index_whose_address_has_a_null_character(tmp_path: Path, cache: ShardCache) -> None:
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"shardlist": [{"url": "a\0.tar"}]}))
    with pytest.raises(DataError, match="has a null character"):
        find_shards(str(index), cache)
