"""Where images are found; contents are not read until they are asked for."""

import io
import json
import os
import tarfile
import unicodedata
from datetime import datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longclip.data.storage import file_info
from longclip.errors import SearchError
from longclip.image.decode import decode_image
from longclip.search.sources.file_sources import FolderSource, JoinedSource
from longclip.search.sources.image_source import (
    ImageSource,
    Item,
    UnlistedKind,
    caption_of,
    folder_and_name,
)
from longclip.search.sources.open_image_source import open_image_source, read_original
from longclip.search.sources.table_source import ParquetSource
from longclip.search.sources.tar_source import TarSource
from tests.helpers.image_folders import jpeg_bytes, photo, photos, tar_file


def listed(source: ImageSource) -> dict[str, Item]:
    items = source.list().items
    assert len({item.uri for item in items}) == len(items)
    return {item.uri: item for item in items}


def names(source: ImageSource) -> list[str]:
    return [folder_and_name(uri)[1] for uri in listed(source)]


def check_reads_back(source: ImageSource) -> None:
    for item in source.list().items:
        content = source.read(item)
        assert item.bytes in (None, len(content))
        assert read_original(item.uri) == content


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/er/c.webp", ".hidden/x.jpg", ".y.jpg", "db/images/z.jpg"):
        photo(tmp_path / name, 1)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "odd.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    source = open_image_source(tmp_path, without=tmp_path / "db")
    assert source.name == str(tmp_path)
    assert names(source) == ["a.png", "b.JPG", "c.webp"]
    check_reads_back(source)
    item = listed(source)[str(tmp_path / "a.png")]
    assert item.mtime_ns == (tmp_path / "a.png").stat().st_mtime_ns


def test_links_are_followed_once(tmp_path: Path) -> None:
    photos(tmp_path / "real", 1)
    photos(tmp_path / "elsewhere", 1)
    inside = tmp_path / "real" / "inside"
    inside.mkdir()
    (inside / "up").symlink_to(tmp_path / "real")
    (inside / "self").symlink_to(inside / "self")
    (tmp_path / "real" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "real" / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    listing = open_image_source(tmp_path / "real").list()
    assert len(listing.items) == 2
    ends = {part.prefix.removeprefix(f"{tmp_path}/real/") for part in listing.unlisted}
    assert ends == {"dangling.jpg", "inside/self/"}


def test_a_linked_folder_that_is_away(tmp_path: Path) -> None:
    photos(tmp_path / "disk", 2)
    photo(tmp_path / "all" / "a.jpg", 7)
    (tmp_path / "all" / "more").symlink_to(tmp_path / "disk")
    source = open_image_source(tmp_path / "all")
    assert len(source.list().items) == 3
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    listing = source.list()
    assert len(listing.items) == 1
    assert [part.prefix for part in listing.unlisted] == [f"{tmp_path}/all/more/"]


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "pipe")
    (tmp_path / "c.jpg").symlink_to("/dev/zero")
    (tmp_path / "a.txt").symlink_to(tmp_path / "pipe")
    folder = open_image_source(tmp_path)
    assert names(folder) == ["a.jpg"]
    assert folder.caption(folder.list().items[0]) is None
    left_out = {part.place: part.reason for part in folder.list().unlisted}
    assert left_out == {
        f"{tmp_path}/{name}": f"no file but {what}"
        for name, what in {"a.txt": "a pipe", "b.jpg": "a pipe", "c.jpg": "a device"}.items()
    }
    listing = open_image_source(f"{tmp_path}/*.jpg").list()
    assert len(listing.items) == 1
    assert {part.prefix[-5:] for part in listing.unlisted} == {"b.jpg", "c.jpg"}
    assert {part.kind for part in listing.unlisted} == {UnlistedKind.LINK}


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="Linux shows its processes as files")
def test_the_running_system_is_no_folder_of_files(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    (tmp_path / "system").symlink_to("/proc")
    (tmp_path / "b.jpg").symlink_to("/proc/kmsg")
    (tmp_path / "a.txt").symlink_to("/proc/self/cmdline")
    source = open_image_source(tmp_path)
    listing = source.list()
    [item] = listing.items
    assert source.caption(item) is None
    assert sorted(part.place.removeprefix(f"{tmp_path}/") for part in listing.unlisted) == [
        "a.txt",
        "b.jpg",
        "system",
    ]
    for part in listing.unlisted:
        assert part.kind is UnlistedKind.LINK
        assert "a view of the running system" in part.reason
    for place in ("/proc", tmp_path / "system", tmp_path / "b.jpg"):
        with pytest.raises(SearchError, match="a view of the running system"):
            open_image_source(place).list()
    with pytest.raises(OSError, match="a view of the running system"):
        read_original(str(tmp_path / "b.jpg"))


def test_a_caption_that_leads_nowhere_costs_no_image(tmp_path: Path) -> None:
    photos(tmp_path, 3)
    (tmp_path / "0000.txt").symlink_to("nowhere")
    (tmp_path / "notes.doc").symlink_to("nowhere")
    listing = open_image_source(tmp_path).list()
    assert len(listing.items) == 3
    assert {part.place[-8:] for part in listing.unlisted} == {"0000.txt", "otes.doc"}
    assert {part.kind for part in listing.unlisted} == {UnlistedKind.LINK}


@pytest.mark.parametrize("seconds", [-5, 2**40])
def test_times_that_no_column_holds(
    seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo(tmp_path / "a.jpg", 1)
    about = os.stat_result((*path.stat()[:7], 0, seconds, 0), {"st_mtime_ns": seconds * 10**9})

    def odd(self: Path, **options: object) -> os.stat_result:
        return about

    source = open_image_source(path)
    monkeypatch.setattr(os, "stat", odd)
    expected = min(max(0, seconds * 10**9), 2**63 - 1)
    assert source.list().items[0].mtime_ns == file_info(str(path)).mtime_ns == expected


def test_a_folder_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path, 1)
    photos(tmp_path / "secret", 1)
    scandir = os.scandir

    def guarded(folder: str) -> object:
        if str(folder).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    source = open_image_source(tmp_path)
    monkeypatch.setattr(os, "scandir", guarded)
    listing = source.list()
    assert len(listing.items) == 1
    assert [(part.prefix, part.reason) for part in listing.unlisted] == [
        (f"{tmp_path}/secret/", "Permission denied")
    ]


@pytest.mark.parametrize(
    ("suffix", "content", "expected"),
    [
        (".txt", "\ufeff A boat. \n", "A boat."),
        (".txt", "", None),
        (".json", '{"caption": "A boat."}', "A boat."),
        (
            ".json",
            '{"text": "no", "description": ["A boat. ", "", 3, "A pier."]}',
            "A boat. 3 A pier.",
        ),
        (".json", '{"other": 1}', None),
        (".json", "[1]", None),
        (".json", "{damaged", None),
        (".json", "", None),
        (".json", "[" * 60_000, None),
    ],
)
def test_captions_beside(suffix: str, content: str, expected: str | None, tmp_path: Path) -> None:
    assert caption_of(content.encode(), f"a{suffix}") == expected
    path = photo(tmp_path / "a.jpg", 1)
    path.with_suffix(suffix).write_text(content, encoding="utf-8")
    later = path.stat().st_mtime_ns + 5_000_000_000
    os.utime(path.with_suffix(suffix), ns=(later, later))
    for source in (open_image_source(tmp_path), open_image_source(path)):
        [item] = source.list().items
        assert source.caption(item) == expected
        assert item.mtime_ns == later


def test_a_caption_that_is_no_text(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 " + b"x" * 1_000_000)
    source = open_image_source(tmp_path)
    [item] = source.list().items
    caption = source.caption(item)
    assert caption is not None
    assert caption.startswith("caf\ufffd")
    assert len(caption) < 70_000


def test_one_file_and_a_pattern(tmp_path: Path) -> None:
    photos(tmp_path / "2023", 2)
    photos(tmp_path / "2024", 2, first=5)
    tar_file(tmp_path / "2024" / "more.tar", {"t.jpg": jpeg_bytes(9)})
    (tmp_path / "2024" / "notes.md").write_text("no image")
    odd = tmp_path / "scan"
    odd.write_bytes(jpeg_bytes(3))
    assert names(open_image_source(odd)) == ["scan"]
    assert names(open_image_source(tmp_path / "20*")) == [
        "0000.jpg",
        "0001.jpg",
        "0005.jpg",
        "0006.jpg",
    ]
    pattern = open_image_source(f"{tmp_path}/2024/*")
    assert pattern.name == f"{tmp_path}/2024/*"
    assert names(pattern) == ["0005.jpg", "0006.jpg", "t.jpg"]
    check_reads_back(pattern)
    assert len(names(open_image_source(f"{tmp_path}/**/*.jpg"))) == 4


def test_folders_of_shards_below_a_pattern(tmp_path: Path) -> None:
    for i in range(3):
        folder = tmp_path / f"set-{i % 2}"
        folder.mkdir(exist_ok=True)
        tar_file(folder / f"{i}.tar", {"a.jpg": jpeg_bytes(i)})
    photos(tmp_path / "set-photos", 1)
    source = open_image_source(tmp_path / "set-*")
    assert isinstance(source, JoinedSource)
    parts = [(type(part), part.name.removeprefix(f"{tmp_path}/")) for part in source.parts]
    assert parts == [
        (TarSource, "set-0/0.tar"),
        (TarSource, "set-0/2.tar"),
        (TarSource, "set-1/1.tar"),
        (FolderSource, "set-photos"),
    ]
    assert len(listed(source)) == 4


def test_parts_whose_images_are_elsewhere(tmp_path: Path) -> None:
    photos(tmp_path / "in" / "photos", 1)
    (tmp_path / "in" / "list.jsonl").write_text("{damaged")
    (tmp_path / "in" / "x.parquet").write_bytes(b"damaged")
    listing = open_image_source(f"{tmp_path}/in/*").list()
    assert len(listing.items) == 1
    assert {(part.prefix, part.place) for part in listing.unlisted} == {
        ("", f"{tmp_path}/in/list.jsonl"),
        (f"{tmp_path}/in/x.parquet", f"{tmp_path}/in/x.parquet"),
    }


@pytest.mark.parametrize("mtime", ["nan", "inf", "1e30", "-1"])
def test_tar_members_with_odd_times(mtime: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info, content = tarfile.TarInfo("a.jpg"), jpeg_bytes(1)
        info.size, info.pax_headers = len(content), {"mtime": mtime}
        tar.addfile(info, io.BytesIO(content))
    [item] = open_image_source(tmp_path / "x.tar").list().items
    assert item.mtime_ns == 0


def test_a_caption_in_a_tar_file_that_is_newer(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, seconds in {"a.jpg": 10, "a.txt": 30, "b.jpg": 20, "b.json": 5}.items():
            info = tarfile.TarInfo(name)
            info.mtime = seconds
            tar.addfile(info)
    times = [item.mtime_ns for item in open_image_source(tmp_path / "x.tar").list().items]
    assert times == [30 * 10**9, 20 * 10**9]


def test_hard_links_in_a_tar_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info, content = tarfile.TarInfo("a.jpg"), jpeg_bytes(1)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        for name, target in {"b.jpg": "a.jpg", "c.jpg": "b.jpg", "d.jpg": "gone.jpg"}.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.LNKTYPE, target
            tar.addfile(link)
    source = open_image_source(tmp_path / "x.tar")
    assert names(source) == ["a.jpg", "b.jpg", "c.jpg"]
    assert {source.read(item) for item in source.list().items} == {content}


@pytest.mark.parametrize("caption", ["SEA.TXT", "SEA.JSON"])
def test_captions_of_old_disks(caption: str, tmp_path: Path) -> None:
    text = b"A boat." if caption.endswith("TXT") else b'{"caption": "A boat."}'
    photo(tmp_path / "in" / "SEA.JPG", 1)
    (tmp_path / "in" / caption).write_bytes(text)
    tar_file(tmp_path / "x.tar", {"SEA.JPG": jpeg_bytes(1), caption: text})
    files = fsspec.filesystem("memory")
    files.pipe({"/old/SEA.JPG": jpeg_bytes(1), f"/old/{caption}": text})
    places = (tmp_path / "in", tmp_path / "in" / "SEA.JPG", tmp_path / "x.tar", "memory://old")
    for source in map(open_image_source, places):
        [item] = source.list().items
        assert source.caption(item) == "A boat."
    files.rm("/old", recursive=True)


def test_tar_shards(tmp_path: Path) -> None:
    for i in range(3):
        tar_file(
            tmp_path / f"part-{i}.tar",
            {
                f"{i}/a.jpg": jpeg_bytes(i),
                f"{i}/a.txt": f"Number {i}.".encode(),
                f"{i}/b.v2.png": jpeg_bytes(10 + i),
                f"{i}/._b.jpg": b"hidden",
                f"{i}/c.npy": b"no image",
            },
        )
    source = open_image_source(tmp_path / "part-1.tar")
    uris = [f"{tmp_path}/part-1.tar::1/a.jpg", f"{tmp_path}/part-1.tar::1/b.v2.png"]
    assert list(listed(source)) == uris
    assert [source.caption(item) for item in source.list().items] == ["Number 1.", None]
    check_reads_back(source)
    for several in (tmp_path, f"{tmp_path}/part-{{0..2}}.tar"):
        assert len(listed(open_image_source(several))) == 6
    assert len(listed(open_image_source(f"{tmp_path}/part-[01].tar"))) == 4
    with pytest.raises(FileNotFoundError, match=r"has no 1/z\.jpg any more"):
        read_original(f"{tmp_path}/part-1.tar::1/z.jpg")


def test_a_tar_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tar_file(tmp_path / "x.tar", {f"{i}.jpg": jpeg_bytes(i) for i in range(4)})
    path.write_bytes(path.read_bytes()[:6000])
    listing = open_image_source(path).list()
    assert 0 < len(listing.items) < 4
    [unlisted] = listing.unlisted
    assert "cut off" in unlisted.reason
    check_reads_back(open_image_source(path))
    whole = tar_file(path, {f"{i}.jpg": jpeg_bytes(i) for i in range(4)}).read_bytes()
    end = len(whole.rstrip(b"\0"))
    for size in (*range(tarfile.BLOCKSIZE, end, tarfile.BLOCKSIZE), end):
        path.write_bytes(whole[:size])
        assert open_image_source(path).list().unlisted, size
    path.write_bytes(b"<html>")
    with pytest.raises(SearchError, match="is no tar file"):
        open_image_source(path).list()


@pytest.mark.parametrize("as_struct", [True, False])
def test_parquet(as_struct: bool, tmp_path: Path) -> None:
    contents = [jpeg_bytes(i) for i in range(5)]
    images: list[object] = [{"bytes": c, "path": None} for c in contents] if as_struct else contents
    photo(tmp_path / "pictures" / "p.jpg", 7)
    if as_struct:
        images[3] = {"bytes": None, "path": "pictures/p.jpg"}
        images[4] = None
    texts = [[f"Row {i}.", "More."] for i in range(5)]
    table = pa.table({"image": images, "captions": texts, "score": [0.5] * 5})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    source = open_image_source(tmp_path / "x.parquet")
    items = source.list().items
    assert [item.uri for item in items] == [f"{tmp_path}/x.parquet::{i}" for i in range(5)]
    assert {item.bytes for item in items} == {None}
    assert [source.read(item) for item in items[:3]] == contents[:3]
    assert source.caption(items[4]) == "Row 4. More."
    assert read_original(items[1].uri) == contents[1]
    if as_struct:
        assert source.read(items[3]) == jpeg_bytes(7)
        with pytest.raises(ValueError, match="row 4 has no image"):
            source.read(items[4])
    with pytest.raises(FileNotFoundError, match="has no row 99 any more"):
        read_original(f"{tmp_path}/x.parquet::99")


def test_a_parquet_file_that_has_shrunk_meanwhile(tmp_path: Path) -> None:
    def write(rows: int) -> None:
        table = pa.table({"image": [jpeg_bytes(i) for i in range(rows)]})
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=4)

    write(8)
    source = open_image_source(tmp_path / "x.parquet")
    items = source.list().items
    write(6)
    assert source.read(items[5]) == jpeg_bytes(5)
    with pytest.raises(FileNotFoundError, match="has no row 7 any more"):
        source.read(items[7])
    again = ParquetSource(source.name)
    with pytest.raises(FileNotFoundError, match="has no row 7 any more"):
        again.read(items[7])


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1"])
def test_a_damaged_parquet_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(SearchError, match="cannot be read as parquet"):
        open_image_source(tmp_path / "x.parquet").list()
    pq.write_table(pa.table({"picture": [b"x"]}), tmp_path / "y.parquet")
    with pytest.raises(SearchError, match="no image column among picture; call the one"):
        open_image_source(tmp_path / "y.parquet").list()


def test_json_lines(tmp_path: Path) -> None:
    photos(tmp_path / "p", 2)
    rows = [
        {"image": "p/0000.jpg", "caption": "One."},
        {"image": "p/0001.jpg", "long": "A long one.", "caption": "short"},
        {"image": "p/0000.jpg", "caption": "Two."},
        {"image": "p/gone.jpg", "caption": "Three."},
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = open_image_source(tmp_path / "x.jsonl")
    listing = source.list()
    assert [item.uri for item in listing.items] == [f"{tmp_path}/p/000{i}.jpg" for i in (0, 1)]
    assert [source.caption(item) for item in listing.items] == ["One. Two.", "A long one."]
    assert [part.prefix for part in listing.unlisted] == [f"{tmp_path}/p/gone.jpg"]
    check_reads_back(source)


def test_json_lines_that_are_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("[" * 60_000)
    with pytest.raises(SearchError, match=r"x\.jsonl .*a row is nested too deeply"):
        open_image_source(tmp_path / "x.jsonl").list()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_lists_of_every_kind_are_read_as_for_training(suffix: str, tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "café.jpg")
    photo(tmp_path / "p" / name, 1)
    photo(tmp_path / "p" / "b.jpg", 2)
    rows = [
        {"File_Name": "p/café.jpg", " TEXT": "None"},
        {"File_Name": (tmp_path / "p" / "b.jpg").as_uri(), " TEXT": "1984"},
        {"File_Name": "https://x.org/c.jpg", " TEXT": "nowhere"},
        {"File_Name": "", " TEXT": "nothing"},
    ]
    path = tmp_path / f"x.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(rows))
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        mark = ";" if suffix == "csv" else "\t"
        lines = [mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-16")
    source = open_image_source(path)
    listing = source.list()
    assert [item.uri for item in listing.items] == [f"{tmp_path}/p/{name}", f"{tmp_path}/p/b.jpg"]
    assert [source.caption(item) for item in listing.items] == ["None", "1984"]
    assert [part.prefix for part in listing.unlisted] == [f"{path}::2", f"{path}::3"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title,size\na,b\n", "no image column among title, size; call the one with the images"),
        ("image\nhttps://x.org/c.jpg\n", "names no files: .*which is no file; name paths of"),
        ("image\n,\n ,x\n", "line 3: 2 values, .* names 1 columns"),
    ],
)
def test_a_list_that_names_no_files(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(SearchError, match=says):
        open_image_source(tmp_path / "x.csv").list()


@pytest.mark.parametrize("name", ["a\0b.jpg", "\ud800.jpg"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", 1)
    rows = [{"image": name}, {"image": "a.jpg"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listing = open_image_source(tmp_path / "x.jsonl").list()
    assert len(listing.items) == 1
    [unlisted] = listing.unlisted
    assert "cannot be read: " in unlisted.reason
    assert "None" not in unlisted.reason


def test_a_data_set() -> None:
    source = open_image_source("scenes/val-short")
    items = source.list().items
    assert items[3].uri == "scenes/val-short::3"
    image = decode_image(source.read(items[3]))
    assert image.size == (128, 128)
    assert source.caption(items[3])
    assert read_original(items[3].uri) == source.read(items[3])


def test_a_folder_with_the_name_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "scenes" / "val", 2)
    monkeypatch.chdir(tmp_path)
    for name in ("scenes", "scenes/val"):
        with pytest.raises(SearchError, match=f"write ./{name} for the folder"):
            open_image_source(name)
        assert names(open_image_source(f"./{name}")) == ["0000.jpg", "0001.jpg"]
    assert open_image_source("scenes/val-short").list().items[0].uri == "scenes/val-short::0"


@pytest.fixture
def bucket() -> str:
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/photos/a.jpg", jpeg_bytes(1))
    files.pipe("/bucket/photos/a.txt", b"A boat.")
    files.pipe("/bucket/photos/deep/b.png", jpeg_bytes(2))
    files.pipe("/bucket/photos/.thumbs/b.png", jpeg_bytes(2))
    files.pipe("/bucket/photos/list.csv", b"no image")
    yield "memory://bucket/photos"
    files.rm("/bucket", recursive=True)


def test_object_storage(bucket: str, tmp_path: Path) -> None:
    source = open_image_source(bucket + "/")
    assert source.name == bucket
    items = source.list().items
    assert names(source) == ["a.jpg", "b.png"]
    assert [source.caption(item) for item in items] == ["A boat.", None]
    assert abs(items[0].mtime_ns / 1e9 - datetime.now().timestamp()) < 86400
    check_reads_back(source)
    tar = tar_file(tmp_path / "x.tar", {"1.jpg": jpeg_bytes(5)})
    fsspec.filesystem("memory").pipe("/bucket/x.tar", tar.read_bytes())
    inside = open_image_source("memory://bucket/x.tar")
    assert list(listed(inside)) == ["memory://bucket/x.tar::1.jpg"]
    check_reads_back(inside)
    fsspec.filesystem("memory").pipe("/bucket/one.jpg", jpeg_bytes(6))
    assert names(open_image_source("memory://bucket/one.jpg")) == ["one.jpg"]
    with pytest.raises(SearchError, match="there is nothing; check the address"):
        open_image_source("memory://bucket/none").list()


def test_a_storage_that_is_not_known() -> None:
    with pytest.raises(SearchError, match="nonsense://x cannot be opened"):
        open_image_source("nonsense://x").list()
    with pytest.raises(SearchError, match="not fetched; download it first"):
        open_image_source("https://example.org/a.jpg")


@pytest.mark.parametrize("name", ["gone", "gone/deeper.jpg", "gone.tar", "*.nothing", "/a/b/c/d"])
def test_what_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=r"no such file or folder|matches nothing"):
        open_image_source(name)


def test_a_pipe_is_named_as_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.tar")
    with pytest.raises(SearchError, match=r"p.tar is a pipe, which is not read"):
        open_image_source(tmp_path / "p.tar")


def test_originals_that_are_gone(tmp_path: Path) -> None:
    for uri in ("x.jpg", "x.tar::a.jpg", "x.parquet::1", "x::y", "a::b::c"):
        with pytest.raises((OSError, ValueError)):
            read_original(f"{tmp_path}/{uri}")


@pytest.mark.parametrize(
    ("uri", "folder", "name"),
    [
        ("/a/b/c.jpg", "/a/b", "c.jpg"),
        ("/a/x.tar::0/1.jpg", "/a/x.tar::0", "1.jpg"),
        ("/a/x.tar::1.jpg", "/a/x.tar", "1.jpg"),
        ("/a/x.parquet::12", "/a/x.parquet", "12"),
        ("s3://b/c.jpg", "s3://b", "c.jpg"),
        ("/c.jpg", "", "c.jpg"),
    ],
)
def test_folder_and_name(uri: str, folder: str, name: str) -> None:
    assert folder_and_name(uri) == (folder, name)
