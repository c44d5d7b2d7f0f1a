"""The ways to keep vectors and to find the nearest: how each is made, opened and asked."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_vectors import NEIGHBOURS, Mixture

Vectors = NDArray[np.float32]
Ask = Callable[[Vectors], list[int]]
"""A query to the numbers of the nearest, best first."""

_CHUNK = 50_000
_TEXT = "A boat lies on the shore. Two people stand beside it. There are hills behind them."
_HNSW_BREADTH = 64


@dataclass(frozen=True)
class Engine:
    """One contestant.

    Attributes:
        made: folder or file that it is in; several may use one.
        build: makes that from float16 vectors; seconds by name, and what to know of it.
        open: from there to a function that is asked.
    """

    made: str
    build: Callable[[NDArray[np.float16], Path, int], dict[str, Any]]
    open: Callable[[Path], Ask]


def fill(place: str, about: Any, parts: Iterator[Vectors]) -> Any:
    """A database with these vectors and made-up facts, thumbnails left out.

    The rows are added without looking for earlier ones of the same name, as `index` has to.
    """
    from longclip.search.database.schema import Facts, ImageRow, to_arrow
    from longclip.search.database.store import Store

    store = Store.create(place, about, replace=True)
    number = 0
    for part in parts:
        rows = []
        for vector in part:
            folder, name = f"/photos/{number // 1000:04}", f"{number:08}.jpg"
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            facts = Facts(f"{folder}/{name}", "/photos", folder, name, sha256, **_made_up(number))
            rows.append(ImageRow(facts, vector, b""))
            number += 1
        store.table.add(to_arrow(rows, store.table.schema))
    store.compact()
    return store


def _made_up(number: int) -> dict[str, Any]:
    """Facts that differ as those of photos do: Lance reads constant columns far more slowly."""
    draw = random.Random(number)
    width, height = draw.choice([(4032, 3024), (1920, 1080), (1024, 768)])
    taken = datetime(2015, 1, 1) + timedelta(seconds=draw.randrange(300_000_000))
    return {
        "bytes": draw.randrange(50_000, 5_000_000),
        "mtime_ns": draw.randrange(1_400_000_000, 1_700_000_000) * 10**9,
        "width": width,
        "height": height,
        "format": draw.choice(["JPEG", "JPEG", "JPEG", "PNG"]),
        "taken": taken,
        "camera": draw.choice(["Nikon D90", "Canon EOS 5D", None]),
    }


def _describer(count: int) -> Any:
    """Return a stand-in for a model, whose embeddings of descriptions lie where texts do."""
    import longclip
    from longclip.encoders import CLIPEncoder

    mixture = Mixture(count)

    class Describer(CLIPEncoder):
        context_length = 248  # type: ignore[assignment]

        def encode_text(self, texts: Sequence[str], /) -> Vectors:
            return mixture.texts(len(texts), 4)

    return Describer(longclip.load("nano"))


def _build_ours(vectors: NDArray[np.float16], place: Path, exact_below: int) -> dict[str, Any]:
    from longclip.search.database.schema import About
    from longclip.search.database.vector_index import ensure_index

    began = time.perf_counter()
    parts = (vectors[i : i + _CHUNK].astype(np.float32) for i in range(0, len(vectors), _CHUNK))
    store = fill(str(place), About("random", "", vectors.shape[1], 248), parts)
    filled = time.perf_counter() - began
    began = time.perf_counter()
    quality = ensure_index(store, _describer(len(vectors)), exact_below=exact_below)
    note = str(quality or "no index")
    return {"filled": filled, "indexed": time.perf_counter() - began, "note": note}


def _open_ours(exact: bool) -> Callable[[Path], Ask]:
    def open_store(place: Path) -> Ask:
        from longclip.search import Store

        store = Store.open(str(place))

        def ask(query: Vectors) -> list[int]:
            hits = store.nearest(query, NEIGHBOURS, exact=exact)
            return [int(hit.facts.name.removesuffix(".jpg")) for hit in hits]

        return ask

    return open_store


def nearest_with(place: Path) -> Callable[[Vectors, int, int | None, int], list[int]]:
    """Return what finds the nearest with probes, the breadth of a graph, and a refinement."""
    from longclip.search.database.reader import Reader
    from longclip.search.database.schema import PACKED, Facts

    table = Reader.open(str(place)).table

    def ask(vector: Vectors, probes: int, breadth: int | None, refine: int) -> list[int]:
        query = table.search(vector, vector_column_name="vector").distance_type("cosine")
        query = query.select([PACKED, "vector", "_distance"]).limit(NEIGHBOURS)
        query = query.nprobes(probes).refine_factor(refine)
        query = query.ef(breadth) if breadth else query
        packed = query.to_arrow()[PACKED].to_pylist()
        return [int(Facts.unpack(each).name.removesuffix(".jpg")) for each in packed]

    return ask


def _open_searcher(place: Path) -> Ask:
    """Return a whole search for a description of three sentences but for embedding its texts."""
    from longclip.search import Query, QueryVectors, Searcher, Store

    store = Store.open(str(place))
    searcher = Searcher(store, _describer(1))
    reading = searcher.read(Query(_TEXT, count=NEIGHBOURS))

    def ask(query: Vectors) -> list[int]:
        vectors = QueryVectors(np.repeat(query[None], len(reading.texts), axis=0))
        found = searcher.answer(reading, vectors)
        return [int(hit.facts.name.removesuffix(".jpg")) for hit in found.hits]

    return ask


def _build_flat(vectors: NDArray[np.float16], place: Path, _: int) -> dict[str, Any]:
    import faiss

    began = time.perf_counter()
    index = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), _CHUNK):
        index.add(vectors[start : start + _CHUNK].astype(np.float32))
    faiss.write_index(index, str(place))
    return {"filled": 0, "indexed": time.perf_counter() - began, "note": ""}


def _build_clip_retrieval(vectors: NDArray[np.float16], place: Path, _: int) -> dict[str, Any]:
    from search_peers import build_index

    began = time.perf_counter()
    note = build_index(vectors, place)
    return {"filled": 0, "indexed": time.perf_counter() - began, "note": note}


def _open_flat(place: Path) -> Ask:
    import faiss

    index = faiss.read_index(str(place))
    return lambda query: index.search(query[None], NEIGHBOURS)[1][0].tolist()


def _open_clip_retrieval(place: Path) -> Ask:
    from search_peers import open_index

    index = open_index(place)
    # It wants the vectors too, to leave out what it takes for copies.
    return lambda query: index.search_and_reconstruct(query[None], NEIGHBOURS)[1][0].tolist()


def _open_hnsw(place: Path) -> Ask:
    from search_peers import open_index

    index = open_index(place)
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = _HNSW_BREADTH
    return lambda query: index.search(query[None], NEIGHBOURS)[1][0].tolist()


def _build_array(vectors: NDArray[np.float16], place: Path, _: int) -> dict[str, Any]:
    began = time.perf_counter()
    np.save(place, vectors.astype(np.float32))
    return {"filled": 0, "indexed": time.perf_counter() - began, "note": ""}


def _open_array(place: Path) -> Ask:
    import torch
    from sentence_transformers import util

    corpus = torch.from_numpy(np.load(place))

    def ask(query: Vectors) -> list[int]:
        # Of length one already: the product is the cosine, and cheaper.
        hits = util.semantic_search(
            torch.from_numpy(query), corpus, top_k=NEIGHBOURS, score_function=util.dot_score
        )
        return [int(hit["corpus_id"]) for hit in hits[0]]

    return ask


ENGINES = {
    "longclip": Engine("longclip.db", _build_ours, _open_ours(exact=False)),
    "longclip, whole search": Engine("longclip.db", _build_ours, _open_searcher),
    "longclip, exact": Engine("longclip.db", _build_ours, _open_ours(exact=True)),
    "clip-retrieval's index": Engine("hnsw.index", _build_clip_retrieval, _open_clip_retrieval),
    f"faiss, the same with efSearch {_HNSW_BREADTH}": Engine(
        "hnsw.index", _build_clip_retrieval, _open_hnsw
    ),
    "faiss, IndexFlatIP": Engine("flat.index", _build_flat, _open_flat),
    "sentence-transformers, semantic_search": Engine("array.npy", _build_array, _open_array),
}
"""By name; the first is what others are compared with."""
