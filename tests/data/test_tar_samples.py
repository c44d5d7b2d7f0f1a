"""Which members of a tar file belong together, for training and search alike."""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longclip.data import ShardCache, open_collection
from longclip.data.tar.members import DANGLING
from longclip.data.tar.samples import NO_PICTURE, OTHERS, read_samples
from longclip.errors import DataError, SearchError
from longclip.search.sources.open_image_source import open_image_source, read_original
from longclip.search.sources.tar_source import TarSource


def tar_of(path: Path, members: list[str], **links: str) -> Path:
    """Write a tar file whose members hold their number and name; `links` lead to others."""
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(members):
            about, content = tarfile.TarInfo(name), f"{number} {name}".encode()
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
        for name, target in links.items():
            about = tarfile.TarInfo(name)
            about.type, about.linkname = tarfile.SYMTYPE, target
            tar.addfile(about)
    return path


def grouped(path: Path) -> list[tuple[str, ...]]:
    """Return the contents of each sample, its picture first."""
    content = path.read_bytes()
    return [
        tuple(
            content[each.offset : each.offset + each.size].decode()
            for each in (sample.picture, *sample.others, *sample.texts)
        )
        for sample in read_samples(str(path)).samples
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["1.jpg", "1.txt", "2.jpg", "2.txt"], ["1.jpg 1.txt", "2.jpg 2.txt"]),
        (["1.jpg", "2.jpg", "1.txt", "2.txt"], ["1.jpg 1.txt", "2.jpg 2.txt"]),
        (["1.txt", "2.txt", "2.jpg", "1.jpg"], ["2.jpg 2.txt", "1.jpg 1.txt"]),
        (["No. 1.jpg", "No. 1.txt", "No. 2.jpg"], ["No. 1.jpg No. 1.txt", "No. 2.jpg"]),
        (["v1.2.JPG", "v1.2.TXT", "v1.3.JPG"], ["v1.2.JPG v1.2.TXT", "v1.3.JPG"]),
        (["a/1.jpg", "b/1.jpg", "b/1.txt"], ["a/1.jpg", "b/1.jpg b/1.txt"]),
        (["a.b/1.jpg", "a.b/1.txt", "a.c/1.txt"], ["a.b/1.jpg a.b/1.txt"]),
        (["1.jpg", "1.0.txt", "1.1.txt", "1.txt"], ["1.jpg 1.txt 1.0.txt 1.1.txt"]),
        (["1.json", "1.jpg", "1.txt"], ["1.jpg 1.txt 1.json"]),
        (["1.right.jpg", "1.left.jpg", "1.txt"], ["1.right.jpg 1.left.jpg 1.txt"]),
        (["1.seg.png", "1.png", "1.txt"], ["1.png 1.seg.png 1.txt"]),
        (["1.a.jpg", "1.a.txt", "1.b.jpg", "1.txt"], ["1.a.jpg 1.a.txt", "1.b.jpg 1.txt"]),
        (["x.jpg", "x.txt"] * 2, ["x.jpg x.txt"] * 2),
        (["x.jpg", "x.jpg", "x.txt"], ["x.jpg", "x.jpg x.txt"]),
        (["._1.jpg", "1.jpg", "__MACOSX/._1.jpg", "__MACOSX/1.jpg"], ["1.jpg"]),
        (["./1.jpg", "./PaxHeaders.12/1.jpg", ".cache/1.jpg", "./1.txt"], ["./1.jpg ./1.txt"]),
    ],
)
def test_what_belongs_together(members: list[str], expected: list[str], tmp_path: Path) -> None:
    found = grouped(tar_of(tmp_path / "t.tar", members))
    names = [" ".join(each.partition(" ")[2] for each in sample) for sample in found]
    assert names == expected
    read = [each for sample in found for each in sample]
    assert len(set(read)) == len(read), "each member in one sample"


def test_tar_files_joined_by_cat(tmp_path: Path) -> None:
    parts = [["0.jpg", "0.txt"], ["0.jpg"], ["0.jpg", "0.txt", "0.json"]]
    contents = [tar_of(tmp_path / f"{i}.tar", part).read_bytes() for i, part in enumerate(parts)]
    path = tmp_path / "t.tar"
    path.write_bytes(b"".join(contents))
    assert grouped(path) == [
        ("0 0.jpg", "1 0.txt"),
        ("0 0.jpg",),
        ("0 0.jpg", "1 0.txt", "2 0.json"),
    ]
    assert not read_samples(str(path)).damage
    path.write_bytes(path.read_bytes() + b"x" * 512)
    found = read_samples(str(path))
    assert len(found.samples) == 3
    assert f"damaged after {sum(map(len, contents)):,} of" in found.damage


def test_what_is_in_no_sample_is_named(tmp_path: Path) -> None:
    links = {"2.jpg": "1.jpg", "3.jpg": "2.jpg", "a/4.jpg": "../3.jpg", "5.jpg": "6.jpg"}
    links |= {"7.jpg": "7.jpg", "folder": "/tmp", "6.jpg": "../6.jpg"}
    path = tar_of(tmp_path / "t.tar", ["1.jpg", "8.txt", "9.mp4", "1.seg.png"], **links)
    found = read_samples(str(path))
    assert [sample.picture.name for sample in found.samples] == [
        "1.jpg",
        "2.jpg",
        "3.jpg",
        "a/4.jpg",
    ]
    assert len({sample.picture.offset for sample in found.samples}) == 1
    assert found.left_out == {
        NO_PICTURE: ["8.txt", "9.mp4"],
        DANGLING: ["5.jpg", "7.jpg", "6.jpg"],
    }
    told = open_collection(path, cache=ShardCache(tmp_path / "cache")).problems
    assert f"3 members left out, {DANGLING}: 5.jpg, 7.jpg, 6.jpg" in told
    assert f"1 member left out, {OTHERS}: 1.seg.png" in told
    unlisted = open_image_source(path).list().unlisted
    assert [part.prefix for part in unlisted] == [f"{path}::{i}.jpg" for i in (5, 7, 6)]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar", "x.tar.bz2", "x.tar.xz"])
def test_a_compressed_tar_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    content = tar_of(tmp_path / "plain.tar", ["1.jpg"]).read_bytes()
    compress = {".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix, gzip.compress)
    path = tmp_path / name
    path.write_bytes(compress(content))
    says = rf"{name} is no tar file but compressed .* decompress it first \(`\w+ {path}`\)"
    with pytest.raises(DataError, match=says):
        open_collection(path, cache=ShardCache(tmp_path / "cache"))
    with pytest.raises(SearchError, match=says):
        open_image_source(path).list()
    [unlisted] = open_image_source(f"{path}*").list().unlisted
    assert re.search(says, unlisted.reason)


def test_a_tar_file_in_capital_letters(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tar_of(tmp_path / "in" / "X.TAR", ["1.jpg", "1.txt"])
    cache = ShardCache(tmp_path / "cache")
    for place in (path, path.parent):
        assert len(open_collection(place, cache=cache)) == 1
        [item] = open_image_source(place).list().items
        assert read_original(item.uri) == b"0 1.jpg"


def test_texts_of_one_picture_are_all_used(tmp_path: Path) -> None:
    texts = {
        "1.0.txt": "A boat.".encode("utf-16"),
        "1.1.txt": b"\xef\xbb\xbfA pier.",
        "1.2.txt": b"A boat.",
        "1.json": json.dumps({"captions": ["A pier.", "Fog."]}).encode(),
    }
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in ({"1.jpg": b"picture"} | texts).items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    collection = open_collection(path, cache=ShardCache(tmp_path / "cache"))
    assert collection.captions(0).short == ("A boat.", "A pier.", "Fog.")
    source = open_image_source(path)
    [item] = source.list().items
    assert source.caption(item) == "A boat. A pier."


NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "a/", "./", "._", "__MACOSX/", "a.b/"]),
        st.sampled_from(["1", "2", "No. 1", "No. 2", "1.left", "1.0"]),
        st.sampled_from([".jpg", ".JPG", ".png", ".txt", ".json", ".cls", ""]),
    ),
)


@settings(max_examples=60, deadline=None)
@given(archives=st.lists(st.lists(NAMES, max_size=8), min_size=1, max_size=3))
@example(archives=[["1.jpg", "1.txt"] * 2])
@example(archives=[["No. 1.jpg", "No. 1.txt", "No. 2.jpg"], ["1.jpg"], ["1.jpg", "1.0.txt"]])
@example(archives=[[], ["1.jpg"]])
def test_training_and_search_read_the_same_samples(
    archives: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("same")
    parts = [tar_of(folder / "part", members).read_bytes() for members in archives]
    path = folder / "t.tar"
    path.write_bytes(b"".join(parts))
    try:
        trained = open_collection(path, cache=ShardCache(folder / "cache"))
    except DataError:
        assert not open_image_source(path).list().items
        return
    source = TarSource(str(path))
    items = source.list().items
    assert len({item.uri for item in items}) == len(items)
    samples = read_samples(str(path)).samples
    assert len(trained) == len(samples)
    # The first picture of each sample is trained on; all of them are searched.
    firsts = [item for item in items if item.place.offset in {s.picture.offset for s in samples}]
    assert [source.read(item) for item in firsts] == [
        trained.image_file(i) for i in range(len(trained))
    ]
    assert all(read_original(item.uri) == source.read(item) for item in items)
    for index, item in enumerate(firsts):
        caption = source.caption(item) or ""
        assert Counter(caption.split()) == Counter(" ".join(trained.captions(index).short).split())
    # Nothing that is a picture and not hidden is lost.
    shown = sum(
        name.lower().endswith((".jpg", ".png")) and not name.startswith(("._", "__MACOSX"))
        for members in archives
        for name in members
    )
    assert len(items) == shown
