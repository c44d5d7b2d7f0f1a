import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longclip.evaluation.cache import (
    CacheWarning,
    EmbeddingCache,
    default_cache_directory,
)

_ANY_FLOATS = st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3)


def rows(*values):
    return np.array(values, dtype=np.float32)


def shards(directory):
    return sorted(directory.rglob("*.embeddings"))


@given(batches=st.lists(st.dictionaries(st.text(), _ANY_FLOATS, min_size=1), max_size=5))
def test_what_is_put_comes_back_to_the_bit(batches, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cache")
    writer, first = EmbeddingCache(directory), {}
    for batch in batches:
        vectors = np.array(list(batch.values()), dtype=np.uint32).view(np.float32)
        writer.space("model", "text").put(list(batch), vectors)
        first = batch | first  # the first one that was written is as good as any, and stays
    for cache in (writer, EmbeddingCache(directory)):
        space = cache.space("model", "text")
        for key, bits in first.items():
            assert space.get(key).view(np.uint32).tolist() == bits
        assert space.get("never put, and hopefully never drawn") is None
    assert len(shards(directory)) == bool(batches)
    assert sum(path.stat().st_size for path in shards(directory)) == sum(
        16 + len(batch) * (32 + 3 * 4) for batch in batches
    )


def test_encoders_and_towers_are_kept_apart(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.space("a", "text").put(["x"], rows([1, 2]))
    assert cache.space("a", "text").get("x").tolist() == [1, 2]
    assert cache.space("a", "image").get("x") is None
    assert cache.space("b", "text", name="B").get("x") is None
    cache.space("b", "text").put(["x"], rows([3, 4, 5]))
    assert cache.space("b", "text").get("x").tolist() == [3, 4, 5]
    about = [json.loads(path.read_text()) for path in tmp_path.rglob("about.json")]
    assert {"encoder": "B", "kind": "text", "fingerprint": "b"} in about


def test_nothing_is_made_before_something_is_kept(tmp_path):
    cache = EmbeddingCache(tmp_path / "new")
    assert cache.space("a", "text").get("x") is None
    assert not (tmp_path / "new").exists()


def test_a_shard_cut_anywhere_gives_whole_blocks_and_no_others(tmp_path):
    cache = EmbeddingCache(tmp_path / "whole")
    cache.space("a", "text").put(["x", "y"], rows([1, 2], [3, 4]))
    cache.space("a", "text").put(["z"], rows([5, 6]))
    [shard] = shards(tmp_path)
    content = shard.read_bytes()
    last = 16 + 32 + 8
    for length in range(len(content)):
        shard.write_bytes(content[:length])
        space = EmbeddingCache(tmp_path / "whole").space("a", "text")
        found = [space.get(key) is not None for key in "xyz"]
        assert found == [length >= len(content) - last] * 2 + [False]


@pytest.mark.parametrize("place", ["key", "vector", "count", "magic", "crc"])
def test_a_damaged_block_is_told_of_and_written_again(place, tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.space("a", "text").put(["x", "y"], rows([1, 2], [3, 4]))
    [shard] = shards(tmp_path)
    content = bytearray(shard.read_bytes())
    content[{"magic": 0, "count": 4, "crc": 13, "key": 20, "vector": 16 + 64 + 5}[place]] ^= 1
    shard.write_bytes(content)

    cache = EmbeddingCache(tmp_path)
    if place == "count":  # it now looks like a block that is still being written, or a shorter one
        assert [cache.space("a", "text").get(key) for key in "xy"] == [None, None]
    else:
        with pytest.warns(CacheWarning, match=r"\.embeddings is damaged.*computed again"):
            assert [cache.space("a", "text").get(key) for key in "xy"] == [None, None]
    cache.space("a", "text").put(["x", "y"], rows([1, 2], [3, 4]))
    for again in (cache, EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            space = again.space("a", "text")
            assert space.get("x").tolist() == [1, 2]
            assert space.get("y").tolist() == [3, 4]


def test_several_processes_share_one(tmp_path):
    program = """
import sys, numpy as np
from longclip.evaluation.cache import EmbeddingCache
cache, me = EmbeddingCache(sys.argv[1]), int(sys.argv[2])
for step in range(50):
    keys = [f"{me} {step} {i}" for i in range(5)] + [f"common {step}"]
    cache.space("a", "text").put(keys, np.full((6, 4), step, np.float32))
    assert cache.space("a", "text").get(keys[0]).tolist() == [step] * 4
"""
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)])
        for number in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    space = EmbeddingCache(tmp_path).space("a", "text")
    for step in range(50):
        for key in (f"common {step}", *(f"{me} {step} {i}" for me in range(3) for i in range(5))):
            assert space.get(key).tolist() == [step] * 4
    assert len(shards(tmp_path)) == 3


def test_a_forked_child_does_not_write_into_its_parents_shard(tmp_path):
    cache = EmbeddingCache(tmp_path)
    space = cache.space("a", "text")
    space.put(["x"], rows([1]))
    before = os.getpid
    try:
        os.getpid = lambda: 7
        space.put(["y"], rows([2]))
    finally:
        os.getpid = before
    assert len(shards(tmp_path)) == 2


def test_a_full_disk_is_told_of_once_and_stops_writing(tmp_path, monkeypatch):
    cache = EmbeddingCache(tmp_path)
    cache.space("a", "text").put(["x"], rows([1, 2]))
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[:30])
            raise OSError(28, "No space left on device")

    def full(path, mode="r", **kwargs):
        file = real(path, mode, **kwargs)
        return Full(file) if mode == "ab" else file

    monkeypatch.setattr(Path, "open", full)
    with pytest.warns(CacheWarning, match="No space left on device"):
        cache.space("a", "text").put(["y"], rows([3, 4]))
    monkeypatch.undo()
    cache.space("a", "text").put(["z"], rows([5, 6]))  # behind the torn block none would find it
    for space in (cache.space("a", "text"), EmbeddingCache(tmp_path).space("a", "text")):
        assert space.get("x").tolist() == [1, 2]
        assert space.get("y") is space.get("z") is None


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches"),
        ("darwin", {"XDG_CACHE_HOME": "/caches"}, "/caches"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "~/.cache"),
        ("linux", {}, "~/.cache"),
        ("darwin", {}, "~/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
        ("win32", {}, "~/AppData/Local"),
    ],
)
def test_the_default_directory(platform, environment, expected, monkeypatch):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_cache_directory() == Path(expected).expanduser() / "longclip" / "embeddings"
    assert EmbeddingCache().directory == default_cache_directory()
