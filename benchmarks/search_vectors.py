"""Made-up embeddings for the search benchmark: clustered, with queries of two kinds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH = 512
QUERIES = 100
"""Of each kind."""

NEIGHBOURS = 10
PER_CLUSTER = 100
COMMON, SPREAD = 1.0, 0.6
"""Lengths of what all images share and of what sets those of a cluster apart, beside its own 1."""

TEXT_COSINE, TEXT_SPREAD = 0.3, 0.5
"""Of a text with its image, and how far texts are from each other besides."""

_CHUNK = 50_000
_SLACK = 5e-5
"""A neighbour this much less similar than the last one counts as found: what 16 bits can tell."""


class Mixture:
    """Source of vectors: clusters that differ most along few directions, and noise."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng((count, 0))
        scale = (1 + np.arange(WIDTH)) ** -0.5
        turned = np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))[0]
        self._shape = (scale / np.linalg.norm(scale))[:, None] * turned
        self._common, self._apart = (_unit(x) for x in random.standard_normal((2, WIDTH)))
        self._centres = self._noise(random, max(count // PER_CLUSTER, 1)).astype(np.float32)

    def images(self, count: int, seed: int) -> NDArray[np.float32]:
        """float32 [count, WIDTH], of length one."""
        random = np.random.default_rng((seed, 1))
        centres = self._centres[random.integers(0, len(self._centres), count)]
        return _unit(COMMON * self._common + centres + SPREAD * self._noise(random, count))

    def texts(self, count: int, seed: int) -> NDArray[np.float32]:
        """float32 [count, WIDTH]: all in a place of their own, yet each nearest to its image."""
        random = np.random.default_rng((seed, 2))
        place = _unit(self._apart + TEXT_SPREAD * self._noise(random, count))
        images = self.images(count, seed)
        return _unit(TEXT_COSINE * images + (1 - TEXT_COSINE**2) ** 0.5 * place)

    def _noise(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        return np.asarray(random.standard_normal((count, WIDTH)) @ self._shape)


def make_vectors(folder: Path, count: int) -> None:
    """Write vectors (float16), queries, and what must be reached to be among the nearest."""
    if (folder / "least.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    mixture = Mixture(count)
    queries = np.concatenate([mixture.images(QUERIES, 1), mixture.texts(QUERIES, 2)])
    written = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", dtype=np.float16, shape=(count, WIDTH)
    )
    best = np.full((len(queries), NEIGHBOURS), -1, np.float32)
    for start in range(0, count, _CHUNK):
        rows = mixture.images(min(_CHUNK, count - start), 3 + start).astype(np.float16)
        written[start : start + len(rows)] = rows
        together = np.concatenate([best, queries @ rows.astype(np.float32).T], axis=1)
        best = np.partition(together, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    written.flush()
    np.save(folder / "queries.npy", queries)
    np.save(folder / "least.npy", best.min(axis=1))


def recall(folder: Path, found: list[list[int]]) -> tuple[float, float]:
    """Share of the nearest that was found, for queries of images and of texts."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries, least = np.load(folder / "queries.npy"), np.load(folder / "least.npy")
    shares = []
    for query, bound, numbers in zip(queries, least, found, strict=True):
        similar = vectors[sorted(set(numbers[:NEIGHBOURS]))].astype(np.float32) @ query
        shares.append(float((similar >= bound - _SLACK).sum()) / NEIGHBOURS)
    return float(np.mean(shares[:QUERIES])), float(np.mean(shares[QUERIES:]))


def _unit(x: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / lengths, np.float32)
