"""Sources and databases at URLs, with storage that is held in memory."""

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from longclip.data.storage import file_info, open_file, read_url
from longclip.errors import SearchError
from longclip.search.database.lance import connect, reason
from longclip.search.database.reader import status
from longclip.search.database.store import Store
from longclip.search.indexing.index import forget
from longclip.search.indexing.index_plan import split_shards
from longclip.search.indexing.outcomes import IndexReport
from longclip.search.query.query import Query
from longclip.search.query.searcher import Searcher
from longclip.search.sources.image_source import ImageSource
from longclip.search.sources.open_image_source import open_image_source, read_original
from longclip.search.sources.tar_source import TarSource
from tests.helpers.image_folders import MODEL, jpeg_bytes, photos, run_index


class Storage(MemoryFileSystem):
    """Remembers listings as storages do, counts what is asked, and fails when it is set to."""

    protocol = "bucket"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[Counter[str]] = Counter()
    listings: ClassVar[dict[tuple[object, ...], dict[str, Any]]] = {}
    failure: ClassVar[Exception | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("bucket://", "memory://"))

    def find(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self._asks("find")
        key = (path, *args, *kwargs.items())
        if key not in Storage.listings:
            Storage.listings[key] = super().find(path, *args, **kwargs)
        return Storage.listings[key]

    def invalidate_cache(self, path: str | None = None) -> None:
        Storage.listings.clear()

    def info(self, path: str, **kwargs: Any) -> Any:
        self._asks("info")
        return super().info(path, **kwargs)

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> Any:
        self._asks("cat_file")
        content = super().cat_file(path, start=start, end=end, **kwargs)
        Storage.asked["bytes"] += len(content)
        return content

    def _asks(self, what: str) -> None:
        Storage.asked[what] += 1
        if Storage.failure is not None:
            raise Storage.failure


@pytest.fixture
def files() -> Iterator[Storage]:
    fsspec.register_implementation("bucket", Storage, clobber=True)
    Storage.store.clear()
    Storage.listings.clear()
    Storage.asked.clear()
    Storage.failure = None
    yield Storage()
    Storage.store.clear()


def put(files: Storage, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        files.pipe(f"/{name}", content)


def tar_bytes(seeds: dict[str, int], side: int = 40) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, seed in seeds.items():
            info, content = tarfile.TarInfo(name), jpeg_bytes(seed, side)
            info.size, info.mtime = len(content), 1_700_000_000
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def parquet_bytes(*seeds: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [jpeg_bytes(s) for s in seeds]}), buffer, row_group_size=2)
    return buffer.getvalue()


def uris(source: ImageSource) -> list[str]:
    items = source.list().items
    for item in items:
        assert read_original(item.uri) == source.read(item)
    return [item.uri.removeprefix("bucket://").lstrip("/") for item in items]


def kinds(report: IndexReport) -> dict[str, int]:
    names = ("added", "changed", "moved", "unchanged", "deleted")
    return {name: count for name in names if (count := getattr(report, name))}


def test_patterns(files: Storage) -> None:
    image = jpeg_bytes(1)
    for name in ("2023/a.jpg", "2023/deep/b.png", "2024/c.JPG", "d.jpg", "2024/.thumbs/c.jpg"):
        put(files, {f"p/{name}": image})
    put(
        files,
        {"p/notes.md": b"no image", "p/d.txt": b"A boat.", "p/x.tar": tar_bytes({"t.jpg": 2})},
    )
    folders = ["p/2023/a.jpg", "p/2023/deep/b.png", "p/2024/c.JPG"]
    assert uris(open_image_source("bucket://p/20*")) == folders
    assert uris(open_image_source("bucket://p/*/*.[jJ]*")) == ["p/2023/a.jpg", "p/2024/c.JPG"]
    assert uris(open_image_source("bucket://p/20?3/*")) == ["p/2023/a.jpg", "p/2023/deep/b.png"]
    everything = open_image_source("bucket://p/**")
    assert everything.name == "bucket://p/**"
    assert uris(everything) == [*folders, "p/d.jpg", "p/x.tar::t.jpg"]
    with pytest.raises(SearchError, match="matches nothing; check the pattern"):
        open_image_source("bucket://p/*.webp")
    [item] = open_image_source("bucket://p/d*").list().items
    assert everything.caption(everything.list().items[3]) == "A boat."
    assert open_image_source("bucket://p/d*").caption(item) == "A boat."


def test_a_pattern_costs_as_many_requests_for_many_images(files: Storage) -> None:
    for i in range(50):
        put(files, {f"p/{i}.jpg": jpeg_bytes(1)})
    assert len(open_image_source("bucket://p/*.jpg").list().items) == 50
    assert Storage.asked["find"] == 2
    assert Storage.asked["cat_file"] + Storage.asked["info"] < 5


def test_shards_by_braces_and_patterns(files: Storage) -> None:
    for i in range(3):
        put(files, {f"s/{'ab'[i % 2]}/{i}.tar": tar_bytes({"x.jpg": i})})
    every = ["s/a/0.tar::x.jpg", "s/a/2.tar::x.jpg", "s/b/1.tar::x.jpg"]
    assert uris(open_image_source("bucket://s/{a,b}/*.tar")) == every
    assert uris(open_image_source("bucket://s/*/[12].tar")) == every[1:]
    assert uris(open_image_source("bucket://s/a/{0,2}.tar")) == every[:2]
    listing = open_image_source("bucket://s/a/{0..2}.tar").list()
    assert [part.prefix for part in listing.unlisted] == ["bucket://s/a/1.tar"]
    assert "there is no such file" in listing.unlisted[0].reason
    with pytest.raises(SearchError, match=r"3 shards; name those, in quotes: 'bucket://s/\*\.tar'"):
        open_image_source("bucket://s").list()
    found = split_shards([open_image_source("bucket://s/{a,b}/*.tar")])
    places = [shard.place for shard in found.shards]
    assert [f"{place.removeprefix('bucket:///')}::x.jpg" for place in places] == every
    assert len({shard.stamp for shard in found.shards}) == 3


def test_a_part_that_cannot_be_listed(files: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of images that a pattern has matched is kept as well."""
    put(files, {"p/a.jpg": jpeg_bytes(1), "p/q/b.jpg": jpeg_bytes(2), "p/x.tar": tar_bytes({})})
    source = open_image_source("bucket://p/*")
    monkeypatch.setattr(Storage, "failure", OSError("no keys"))
    assert {(part.prefix, part.place) for part in source.list().unlisted} == {
        ("", "bucket://p/*"),
        ("bucket:///p/x.tar", "bucket:///p/x.tar"),
        ("bucket:///p/q", "bucket:///p/q"),
    }


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        (7, 7 * 10**9),
        (datetime(2001, 9, 9, 1, 46, 40), 10**18),
        (datetime.max, 0),
        (float("nan"), 0),
        (float("inf"), 0),
        (1e30, 0),
        (-1, 0),
    ],
)
def test_times_of_storage(mtime: object, expected: int, files: Storage) -> None:
    files.info = lambda path: {"size": 3, "mtime": mtime}  # type: ignore
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsspec.core, "url_to_fs", lambda url: (files, url))
        assert file_info("s3://b/x.tar").mtime_ns == expected


@pytest.mark.parametrize("name", ["a::b.jpg", "a b+%20 #1 ü.jpg"])
def test_odd_names(name: str, files: Storage) -> None:
    put(files, {f"odd/{name}": jpeg_bytes(1)})
    assert uris(open_image_source("bucket://odd")) == [f"odd/{name}"]


def test_what_storage_remembers_of_a_listing_is_not_believed(files: Storage) -> None:
    put(files, {"p/a.jpg": jpeg_bytes(1)})
    source = open_image_source("bucket://p")
    assert uris(source) == ["p/a.jpg"]
    put(files, {"p/b.jpg": jpeg_bytes(2)})
    assert uris(source) == ["p/a.jpg", "p/b.jpg"]
    assert uris(open_image_source("bucket://p/*.jpg")) == ["p/a.jpg", "p/b.jpg"]


def test_stamps(files: Storage, tmp_path: Path) -> None:
    put(files, {"x.tar": b"one"})
    before = file_info("bucket://x.tar")
    assert (before.bytes, file_info("bucket://x.tar").stamp) == (3, before.stamp)
    put(files, {"x.tar": b"two"})
    assert file_info("bucket://x.tar").stamp != before.stamp
    files.info = lambda path: {"size": 3, "ETag": '"abc"', "LastModified": 7}  # type: ignore
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsspec.core, "url_to_fs", lambda url: (files, url))
        assert file_info("s3://b/x.tar") == (3, 7 * 10**9, '3 "abc"')
    for place in ("bucket://none.tar", str(tmp_path / "none.tar")):
        with pytest.raises(SearchError, match=r"none\.tar cannot be read"):
            TarSource(place).list()


def test_what_has_been_replaced_is_read_anew(files: Storage) -> None:
    put(files, {"x.tar": tar_bytes({"a.jpg": 1, "b.jpg": 2}), "x.parquet": parquet_bytes(1, 2, 3)})
    assert read_original("bucket://x.tar::b.jpg") == jpeg_bytes(2)
    assert read_original("bucket://x.parquet::2") == jpeg_bytes(3)
    put(files, {"x.tar": tar_bytes({"b.jpg": 5}), "x.parquet": parquet_bytes(7, 8)})
    assert read_original("bucket://x.tar::b.jpg") == jpeg_bytes(5)
    assert read_original("bucket://x.parquet::1") == jpeg_bytes(8)
    for gone in ("bucket://x.tar::a.jpg", "bucket://x.parquet::2", "bucket://y.tar::a.jpg"):
        with pytest.raises((OSError, SearchError), match=r"any more|no such file"):
            read_original(gone)


def test_an_image_in_a_shard_costs_its_own_bytes(files: Storage) -> None:
    content = tar_bytes({f"{i}.jpg": i for i in range(20)}, side=200)
    put(files, {"x.tar": content})
    source = open_image_source("bucket://x.tar")
    items = source.list().items
    assert Storage.asked["bytes"] <= len(content) + 10_240
    Storage.asked.clear()
    assert source.read(items[7]) == jpeg_bytes(7, 200)
    assert Storage.asked == {"cat_file": 1, "bytes": len(jpeg_bytes(7, 200))}
    put(files, {"x.tar": content[:30_000]})
    with pytest.raises(OSError, match="has been cut off"):
        source.read(items[-1])


_STEP = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 40)),
    st.tuples(st.just("seek"), st.integers(0, 40)),
    st.tuples(st.just("from the end"), st.integers(0, 30)),
)


@given(steps=st.lists(_STEP, max_size=12), ahead=st.integers(1, 40))
def test_a_file_at_a_url_reads_like_one_in_memory(steps: list[tuple[str, int]], ahead: int) -> None:
    content = bytes(range(30))
    MemoryFileSystem().pipe("/reads/x.bin", content)
    memory = io.BytesIO(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("longclip.data.storage.MIN_REQUEST_BYTES", ahead)
        with open_file("memory://reads/x.bin") as file:
            for step, number in steps:
                if step == "read":
                    assert file.read(number) == memory.read(number)
                elif step == "seek":
                    assert file.seek(number) == memory.seek(number)
                else:
                    assert file.seek(-number, 2) == memory.seek(-number, 2)
                assert file.tell() == memory.tell()


class StorageError(Exception):
    """What libraries for storages raise is often no OSError."""


def test_each_fault_of_storage_is_told(files: Storage, tmp_path: Path) -> None:
    put(files, {"p/a.jpg": jpeg_bytes(1), "x.tar": tar_bytes({"a.jpg": 1}), "y.parquet": b"PAR1"})
    [item] = open_image_source("bucket://p").list().items
    Storage.failure = StorageError("Unable to locate credentials.\nAnd more")
    message = "Unable to locate credentials; check the address, and the keys and endpoint"
    for place in ("bucket://p", "bucket://p/*.jpg", "bucket://x.tar", "bucket://y.parquet"):
        with pytest.raises(SearchError, match=message) as error:
            open_image_source(place).list()
        assert str(error.value).startswith(f"{place} cannot be ")
        with pytest.raises(SearchError, match=message):
            run_index(place, db=tmp_path / "db")
    with pytest.raises(OSError, match=message):
        open_image_source("bucket://p").read(item)
    with pytest.raises(OSError, match=message):
        read_original("bucket://p/a.jpg")
    Storage.failure = None
    with pytest.raises(FileNotFoundError, match=r"there is no such file.*bucket://p/none.jpg"):
        read_url("bucket://p/none.jpg")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(SearchError, match=r"s3://bucket/x cannot be opened: Install s3fs"):
        open_image_source("s3://bucket/x").list()


_REFUSED = (
    'IO { source: Generic { store: "S3", source: RetryErrorImpl { uri: Some(http://host:9000/b?x=y)'
    ", inner: Http(HttpError { kind: Connect, source: reqwest::Error { kind: Request } }) } }"
)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (_REFUSED, "nothing answers at http://host:9000; check the endpoint in the environment."),
        (_REFUSED.replace("Connect", "Timeout"), "nothing answers at http://host:9000; check"),
        (
            'body: Some("<Error><Code>NoSuchBucket</Code><Message>The bucket is not there.'
            '</Message>")',
            "The bucket is not there; check the address, and the keys in the environment.",
        ),
        ("Failed to get AWS credentials: CredentialsNotLoaded", "holds no keys for this storage"),
        ("reqwest::Error { kind: Builder, source: BadScheme }", "AWS_ALLOW_HTTP=true allows that."),
        ("No field named 'kind: Connect'.", "No field named 'kind: Connect'."),
    ],
)
def test_errors_of_storage_through_lance(raised: str, expected: str) -> None:
    assert expected in reason(ValueError(raised))


def test_a_storage_that_lance_does_not_know() -> None:
    with pytest.raises(SearchError, match=r"s4://b/db cannot be opened: .*'s4'"):
        connect("s4://b/db")


def test_a_database_in_object_storage(files: Storage, tmp_path: Path) -> None:
    db: Any = "shared-memory://test-object-storage/db"
    try:
        connect(db)
    except SearchError:
        pytest.skip("this LanceDB has no storage in memory that two connections share")
    for i in range(6):
        put(files, {f"p/{i}.jpg": jpeg_bytes(i)})
    put(files, {"x.parquet": parquet_bytes(11, 12, 13)})
    assert kinds(run_index("bucket://p", "bucket://x.parquet", db=db)) == {"added": 9}
    assert kinds(run_index(db=db)) == {"unchanged": 9}
    put(files, {"p/0.jpg": jpeg_bytes(20), "x.parquet": parquet_bytes(11, 15, 13)})
    files.mv("/p/1.jpg", "/p/new.jpg")
    files.rm("/p/2.jpg")
    expected = {"changed": 2, "moved": 1, "unchanged": 5, "deleted": 1}
    assert kinds(run_index(db=db)) == expected
    assert kinds(run_index(photos(tmp_path / "local", 2, first=30), db=db)) == {"added": 2}
    assert kinds(run_index(db=db, rebuild=True)) == {"added": 10}
    found = Searcher(Store.open(db), MODEL).search(Query("A boat.", count=20))
    assert len(found.hits) == 10
    assert forget("bucket://p", db) == 5
    described = status(db)
    assert (described.images, described.disk_bytes) == (5, None)
    files.rm("/x.parquet")
    report = run_index(db=db)
    assert (report.total, kinds(report)) == (5, {"unchanged": 2})
    assert report.unread[0].uri == "bucket://x.parquet"
