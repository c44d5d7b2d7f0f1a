"""Shards from elsewhere."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from longclip.data import ShardCache, open_collection, open_training_data
from longclip.data.tar import shard_cache as module
from longclip.errors import DataError, FetchError, ImageError
from longclip.util.files import atomic_path, cache_home
from tests.helpers.shard_files import Server, samples, serving, write_tar


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0, 0.0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "remote"
    for number, colours in enumerate((("red", "green"), ("blue",), ("green", "green", "red"))):
        write_tar(folder / f"part-{number}.tar", samples(*colours))
    with serving(folder) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache")


def test_shards_are_fetched_once(server: Server, cache: ShardCache) -> None:
    url = server.url + "part-{0..2}.tar"
    for _ in range(2):
        collection = open_collection(url, cache=cache)
        assert len(collection) == 6
        assert [collection.captions(i).short[0].split()[1] for i in range(6)] == [
            *("red", "green", "blue", "green", "green", "red")
        ]
        assert collection.image(3).size == (5, 4)
    assert {server.asked[f"part-{n}.tar"] for n in range(3)} == {1}


def test_with_sizes_only_what_is_read_is_fetched(server: Server, cache: ShardCache) -> None:
    (server.folder / "sizes.json").write_text('{"part-0.tar": 2, "part-1.tar": 1, "part-2.tar": 3}')
    collection = open_collection(server.url + "part-{0..2}.tar", cache=cache)
    assert (len(collection), set(server.asked)) == (6, {"sizes.json"})
    collection.image(2)
    assert [server.asked[f"part-{n}.tar"] for n in range(3)] == [0, 1, 0]


def test_an_index_elsewhere(server: Server, cache: ShardCache) -> None:
    (server.folder / "index.json").write_text(
        '{"wids_version": 1, "shardlist": [{"url": "part-1.tar", "nsamples": 1}]}'
    )
    collection = open_collection(server.url + "index.json", cache=cache)
    assert len(collection) == 1
    assert collection.image(0).size == (5, 4)
    with pytest.raises(DataError, match=r"there is no .*/other\.json"):
        open_collection(server.url + "other.json", cache=cache)


@pytest.mark.parametrize("fault", [503, 429, "cut", "drop"])
def test_what_fails_twice_is_fetched_the_third_time(
    fault: int | str, server: Server, cache: ShardCache
) -> None:
    server.faults["part-0.tar"] = [fault, fault]
    path = cache.shard(server.url + "part-0.tar")
    assert path.read_bytes() == (server.folder / "part-0.tar").read_bytes()
    assert server.asked["part-0.tar"] == 3


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (503, "could not be fetched in 3 attempts: HTTP 503"),
        ("cut", r"in 3 attempts: cut off after \d+,\d+ of \d+,\d+ bytes"),
        ("drop", "could not be fetched in 3 attempts: "),
    ],
)
def test_what_always_fails_leaves_nothing_and_is_left_alone_for_a_while(
    fault: int | str, says: str, server: Server, cache: ShardCache
) -> None:
    server.faults["part-0.tar"] = [fault] * 9
    for _ in range(2):
        with pytest.raises(FetchError, match=says):
            cache.shard(server.url + "part-0.tar")
    assert server.asked["part-0.tar"] == 3
    assert [path.suffix for path in cache.directory.iterdir()] == [".lock"]
    server.faults.clear()
    assert ShardCache(cache.directory).shard(server.url + "part-0.tar").exists()


def test_what_is_not_there_is_not_asked_for_again(server: Server, cache: ShardCache) -> None:
    with pytest.raises(FetchError, match=r"part-7\.tar could not be fetched: HTTP 404"):
        open_collection(server.url + "part-7.tar", cache=cache)
    assert server.asked["part-7.tar"] == 1


def test_during_training_a_lost_shard_is_bad_items(server: Server, cache: ShardCache) -> None:
    (server.folder / "sizes.json").write_text('{"part-0.tar": 2}')
    collection = open_collection(server.url + "part-0.tar", cache=cache)
    (server.folder / "part-0.tar").unlink()
    for read in (collection.image, collection.captions, collection.key):
        with pytest.raises(ImageError, match=r"part-0\.tar, sample 1: .*HTTP 404"):
            read(1)


def test_nobody_there(cache: ShardCache) -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1.* could not be fetched in 3 attempts"):
        open_collection("http://127.0.0.1:9/a.tar", cache=cache)


def test_used_longest_ago_goes_first(server: Server, tmp_path: Path) -> None:
    size = (server.folder / "part-0.tar").stat().st_size
    cache = ShardCache(tmp_path / "small", gigabytes=2.5 * size / 1e9)
    one, two, three = (server.url + f"part-{n}.tar" for n in range(3))
    for age, url in ((300, one), (200, two)):
        os.utime(cache.shard(url), (0, 1e9 - age))
    cache.shard(one)  # used: now the other is older
    cache.shard(three)
    assert len(list(cache.directory.glob("*.tar"))) == 2
    cache.shard(one)
    cache.shard(two)
    assert server.asked == {"part-0.tar": 1, "part-1.tar": 2, "part-2.tar": 1}


def test_a_collection_larger_than_the_cache(server: Server, tmp_path: Path) -> None:
    size = (server.folder / "part-0.tar").stat().st_size
    cache = ShardCache(tmp_path / "small", gigabytes=1.1 * size / 1e9)
    collection = open_collection(server.url + "part-{0..2}.tar", cache=cache)
    for index in (0, 2, 5, 0, 2, 5):
        assert collection.image(index).size == (5, 4)
    assert len(list(cache.directory.glob("*.tar"))) == 1


def test_larger_than_the_whole_cache(server: Server, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "tiny", gigabytes=1e-6)
    with pytest.raises(FetchError, match=r"larger than all the 1e-06 GB .*allow it more"):
        cache.shard(server.url + "part-0.tar")
    assert server.asked["part-0.tar"] == 1


def test_what_a_killed_process_began_is_removed(server: Server, cache: ShardCache) -> None:
    with atomic_path(cache.directory / "x-2.tar") as going_on:
        (cache.directory / going_on.name.replace("x-2", "x-1")).touch()
        cache.shard(server.url + "part-0.tar")
        assert list(cache.directory.glob(".*")) == [going_on]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="forks")
def test_several_processes_fetch_once(server: Server, cache: ShardCache) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=cache.shard, args=(server.url + "part-2.tar",)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert server.asked["part-2.tar"] == 1


def test_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ShardCache().directory == tmp_path / "longclip" / "shards"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_home().is_absolute()


class FlakyStorage(MemoryFileSystem):
    """Storage in memory that fails a number of times, or hands out half of what was asked for."""

    protocol = "flaky"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failures: ClassVar[list[Exception | str]] = []
    asked: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> Any:
        FlakyStorage.asked[path] += 1
        failure = FlakyStorage.failures.pop(0) if FlakyStorage.failures else None
        if isinstance(failure, Exception):
            raise failure
        content = super().cat_file(path, start=start, end=end, **kwargs)
        return content[: len(content) // 2] if failure else content


@pytest.fixture
def storage(server: Server) -> Iterator[str]:
    """The server's shards as a folder in object storage."""
    fsspec.register_implementation("flaky", FlakyStorage, clobber=True)
    FlakyStorage.store.clear()
    FlakyStorage.asked.clear()
    FlakyStorage.failures.clear()
    for path in server.folder.iterdir():
        FlakyStorage().pipe(f"/set/{path.name}", path.read_bytes())
    yield "flaky://set"
    FlakyStorage.store.clear()


@pytest.mark.parametrize("name", ["part-{0..2}.tar", "part-?.tar", "*.tar", ""])
def test_shards_in_object_storage_are_fetched_once(
    name: str, storage: str, cache: ShardCache
) -> None:
    for _ in range(2):
        collection = open_collection(f"{storage}/{name}", cache=cache)
        assert [collection.captions(i).short[0].split()[1] for i in range(len(collection))] == [
            *("red", "green", "blue", "green", "green", "red")
        ]
        assert collection.image(3).size == (5, 4)
    assert set(FlakyStorage.asked.values()) == {1}
    assert len(FlakyStorage.asked) == 3


def test_sizes_and_an_index_in_object_storage(storage: str, cache: ShardCache) -> None:
    FlakyStorage().pipe("/set/sizes.json", b'{"part-0.tar": 2, "part-1.tar": 1, "part-2.tar": 3}')
    collection = open_collection(f"{storage}/part-{{0..2}}.tar", cache=cache)
    assert (len(collection), list(FlakyStorage.asked)) == (6, ["/set/sizes.json"])
    index = b'{"wids_version": 1, "shardlist": [{"url": "part-1.tar", "nsamples": 1}]}'
    FlakyStorage().pipe("/set/index.json", index)
    assert open_collection(f"{storage}/index.json", cache=cache).image(0).size == (5, 4)
    with pytest.raises(DataError, match=r"there is no .*/other\.json"):
        open_collection(f"{storage}/other.json", cache=cache)


@pytest.mark.parametrize("failure", [OSError("slow down"), RuntimeError("503"), "cut"])
def test_storage_that_fails_for_a_while(
    failure: Exception | str, storage: str, server: Server, cache: ShardCache
) -> None:
    FlakyStorage.failures[:] = [failure] * 2
    path = cache.shard(f"{storage}/part-0.tar")
    assert path.read_bytes() == (server.folder / "part-0.tar").read_bytes()
    FlakyStorage.failures[:] = [failure] * 9
    for _ in range(2):
        with pytest.raises(FetchError, match=r"part-1\.tar could not be fetched in 3 attempts: "):
            cache.shard(f"{storage}/part-1.tar")
    assert FlakyStorage.asked == {"/set/part-0.tar": 3, "/set/part-1.tar": 3}
    assert len(list(cache.directory.glob("*.tar"))) == 1


def test_what_storage_has_not_is_not_asked_for_again(storage: str, cache: ShardCache) -> None:
    with pytest.raises(FetchError, match=r"part-7\.tar could not be fetched: there is no such"):
        open_collection(f"{storage}/part-7.tar", cache=cache)
    with pytest.raises(DataError, match=r"no shard 'flaky://set/x\*\.tar'; check the address"):
        open_collection(f"{storage}/x*.tar", cache=cache)
    with pytest.raises(DataError, match=r"nonsense://.* cannot be opened: Protocol not known"):
        open_collection("nonsense://x.tar", cache=cache)
    small = ShardCache(cache.directory, gigabytes=1e-6)
    with pytest.raises(FetchError, match=r"larger than all the 1e-06 GB .*allow it more"):
        small.shard(f"{storage}/part-0.tar")


def test_a_mixture_of_storage_and_disk(storage: str, server: Server, tmp_path: Path) -> None:
    mixture = tmp_path / "mix.toml"
    sources = (f"{storage}/part-0.tar", f"{server.folder}/part-1.tar")
    mixture.write_text("".join(f'[[source]]\ndata = "{source}"\n' for source in sources))
    collection = open_training_data([mixture], cache=ShardCache(tmp_path / "cache"))
    assert [part.name for part in collection.parts] == ["part-0", "part-1"]
    assert len(collection) == 3
