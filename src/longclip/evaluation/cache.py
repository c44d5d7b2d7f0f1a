"""Embeddings on disk, kept by the content of what was embedded.

A directory per encoder and kind holds shards that are only ever appended to, each by one process,
so several processes may share a cache. A shard is a row of blocks, one per batch:

    magic | count | width | crc32 of all that follows and of these two | keys | float32 vectors

A block that was cut off by a kill is the last of its shard and is passed over; one whose checksum
is wrong is warned of and passed over. Either way its contents are embedded, and written, again.
"""

import hashlib
import json
import mmap
import os
import struct
import uuid
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from longclip.util.files import cache_home, write_text

Kind = Literal["image", "text"]

_MAGIC = b"LCE1"
_HEADER = struct.Struct("<4sIII")
_SHAPE = struct.Struct("<II")
_KEY_BYTES = 32
_SUFFIX = ".embeddings"
_ABOUT = "about.json"


class CacheWarning(UserWarning):
    """A cache that is damaged or cannot be written; results are right all the same."""


def default_cache_directory() -> Path:
    """Return the directory in which embeddings are kept by default."""
    return cache_home() / "longclip" / "embeddings"


class EmbeddingCache:
    """Embeddings of any number of encoders.

    Args:
        directory: where; `default_cache_directory()` where None. It is made on the first write.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self.directory = Path(directory) if directory else default_cache_directory()
        self._spaces: dict[Path, EmbeddingSpace] = {}

    def space(self, fingerprint: str, kind: Kind, *, name: str = "") -> "EmbeddingSpace":
        """Open the embeddings of one tower, as far as they are on disk at this moment.

        Args:
            fingerprint: identity of weights and settings, not empty.
            kind: which tower.
            name: of the encoder, for people who look into the directory.
        """
        assert fingerprint, "embeddings of an encoder without identity must not be kept"
        digest = hashlib.sha256(f"{kind}\n{fingerprint}".encode()).hexdigest()[:40]
        path = self.directory / digest
        if path not in self._spaces:
            about = {"encoder": name, "kind": kind, "fingerprint": fingerprint}
            self._spaces[path] = EmbeddingSpace(path, about)
        space = self._spaces[path]
        space.refresh()
        return space


class EmbeddingSpace:
    """The embeddings of one tower of one encoder. Reading is safe in several threads."""

    def __init__(self, directory: Path, about: dict[str, str]) -> None:
        self._directory = directory
        self._about = about
        self._token = uuid.uuid4().hex[:16]
        self._shards: dict[Path, _Shard] = {}
        self._places: dict[bytes, tuple[_Block, int]] = {}
        self._writable = True

    def refresh(self) -> None:
        """Take notice of what has been written, by this process as well, since the last time."""
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            shard = self._shards.setdefault(path, _Shard(path))
            for block in shard.read():
                for row, key in enumerate(block.keys):
                    known = self._places.get(key)
                    # What was written twice is here because the first copy was damaged.
                    if known is None or not known[0].sound():
                        self._places[key] = block, row

    def get(self, key: str) -> NDArray[np.float32] | None:
        """Return float32 [D] as it was put, to the bit; None where it is not there or damaged."""
        block, row = self._places.get(_digest(key), (None, 0))
        return block.vector(row) if block and block.sound() else None

    def put(self, keys: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Append float32 [len(keys), D] to disk. It is found after the next `refresh`.

        So a picture that comes twice in one run is embedded twice, whoever is faster, and results
        do not depend on the timing of threads. Where nothing can be written, a warning says so
        and the cache stays as it is.
        """
        assert vectors.dtype == np.float32
        assert vectors.shape[0] == len(keys)
        if not self._writable or not keys:
            return
        payload = b"".join(map(_digest, keys)) + np.ascontiguousarray(vectors, "<f4").tobytes()
        shape = _SHAPE.pack(*vectors.shape)
        header = _HEADER.pack(_MAGIC, *vectors.shape, zlib.crc32(payload, zlib.crc32(shape)))
        try:
            if not (self._directory / _ABOUT).exists():
                write_text(self._directory / _ABOUT, json.dumps(self._about, indent=2) + "\n")
            # The process id: after a fork the child must not append to its parent's shard.
            shard = self._directory / f"{self._token}-{os.getpid()}{_SUFFIX}"
            with shard.open("ab") as file:
                file.write(header + payload)
        except OSError as error:
            # Behind a block that was written in part nothing could be found again.
            self._writable = False
            warnings.warn(
                f"embeddings are not kept: {self._directory} cannot be written "
                f"({error.strerror or error}); free space there, or name another directory",
                CacheWarning,
                stacklevel=2,
            )


@dataclass(eq=False)
class _Block:
    path: Path
    keys: list[bytes]
    payload: memoryview
    width: int
    crc: int
    _sound: bool | None = None

    def sound(self) -> bool:
        """Return whether the checksum is right; it is computed once."""
        if self._sound is None:
            shape = _SHAPE.pack(len(self.keys), self.width)
            self._sound = zlib.crc32(self.payload, zlib.crc32(shape)) == self.crc
            if not self._sound:
                _warn_of_damage(self.path, f"{len(self.keys)} embeddings are")
        return self._sound

    def vector(self, row: int) -> NDArray[np.float32]:
        start = len(self.keys) * _KEY_BYTES + row * self.width * 4
        # A copy, so that the file is not held open by results.
        return np.frombuffer(self.payload, "<f4", self.width, start).astype(np.float32)


class _Shard:
    """One file; each `read` gives the blocks that have come since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self._damaged = False

    def read(self) -> Iterator[_Block]:
        try:
            if self._damaged or self._path.stat().st_size <= self._end:
                return
            with self._path.open("rb") as file:
                content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError:  # removed by somebody since it was listed
            return
        while self._end + _HEADER.size <= len(content):
            magic, count, width, crc = _HEADER.unpack_from(content, self._end)
            if magic != _MAGIC:
                self._damaged = True
                _warn_of_damage(self._path, "its rest is")
                return
            start = self._end + _HEADER.size
            stop = start + count * (_KEY_BYTES + 4 * width)
            if stop > len(content):  # cut off, or still being written
                return
            payload = content[start:stop]
            keys = bytes(payload[: count * _KEY_BYTES])
            self._end = stop
            yield _Block(
                self._path,
                [keys[i : i + _KEY_BYTES] for i in range(0, len(keys), _KEY_BYTES)],
                payload,
                width,
                crc,
            )


def _warn_of_damage(path: Path, what: str) -> None:
    warnings.warn(
        f"{path} is damaged: {what} computed again; check the disk, or remove the file",
        CacheWarning,
        stacklevel=4,
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
