"""`search.py --indexes`: the kinds of vector index that LanceDB has, made over the same vectors.

Each is searched with the cheapest of a grid of settings that finds 99 % of the ten nearest, of
images and of texts alike, as `longclip index` chooses its own.
"""

import argparse
import shutil
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from search_engines import ENGINES, nearest_with
from search_jobs import ask, memory, table
from search_queries import making_of
from search_vectors import NEIGHBOURS, QUERIES, make_vectors, recall

KINDS = {
    "IVF_SQ": ("IvfSq", {}),
    "IVF_PQ": ("IvfPq", {"num_sub_vectors": 64}),
    "IVF_RQ, 1 bit": ("IvfRq", {}),
    "IVF_RQ, 4 bits": ("IvfRq", {"num_bits": 4}),
    "IVF_HNSW_SQ": ("IvfHnswSq", {}),
    "IVF_HNSW_SQ, one graph": ("IvfHnswSq", {"num_partitions": 1}),
    "IVF_HNSW_PQ": ("IvfHnswPq", {"num_sub_vectors": 64}),
}
"""Names in the table, and how LanceDB makes them."""

_PROBES = (5, 10, 20, 40, 80, 160)
_BREADTHS = (100, 200, 400, 800)
"""Of a graph: candidates that a search keeps in view (`ef`)."""

_REFINE = (5, 20)
_ENOUGH = 0.99


def compare(a: argparse.Namespace) -> None:
    """Print a table for each number of vectors."""
    for count in a.vectors:
        folder = a.out / f"vectors-{count}"
        make_vectors(folder, count)
        making_of("longclip", folder, 0)
        rows = []
        for name in KINDS:
            if a.only and not name.startswith(tuple(a.only)):
                continue
            made = ask("make_index", folder=str(folder), name=name)
            rows.append((name, *_cells(made, ask("try_index", folder=str(folder), name=name))))
        print(f"\n{count:,} vectors, {2 * QUERIES} queries, {NEIGHBOURS} nearest")
        speed = ("setting", "p50, ms", "p95, ms", "processor ms", "recall@10, images", "texts")
        table(
            ("", *speed, "made, processor s", "memory for that, GB", "disk, GB", "memory, GB"), rows
        )


def _cells(made: dict[str, Any], found: dict[str, Any]) -> tuple[str, ...]:
    setting = [f"{found['probes']} probes"]
    setting += [f"ef {found['breadth']}"] if found["breadth"] else []
    return (
        ", ".join([*setting, f"refined {found['refine']}-fold"]),
        *(f"{found[name]:.1f}" for name in ("p50", "p95", "processor")),
        *(f"{share:.3f}" for share in found["recall"]),
        f"{made['processor']:.0f}",
        f"{made['memory'] / 1e9:.2f}",
        f"{made['disk'] / 1e9:.3f}",
        f"{found['memory'] / 1e9:.2f}",
    )


def measure_making(folder: str, name: str) -> dict[str, Any]:
    """Make one kind over a copy of our database."""
    import lancedb.index

    from longclip.search.database.reader import Reader

    place = _place(folder, name)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(Path(folder, ENGINES["longclip"].made), place)
    table = Reader.open(str(place)).table
    before, began = memory("VmRSS"), time.process_time()
    kind, options = KINDS[name]
    table.create_index("vector", config=getattr(lancedb.index, kind)("cosine", **options))
    processor = time.process_time() - began
    [index] = (index for index in table.list_indices() if "vector" in index.columns)
    return {"processor": processor, "memory": memory() - before, "disk": index.size_bytes}


def measure_settings(folder: str, name: str) -> dict[str, Any]:
    """Find the setting that takes least of the processor and finds enough, and measure it."""
    queries = np.load(Path(folder, "queries.npy"))
    before = memory("VmRSS")
    nearest = nearest_with(_place(folder, name))
    breadths = _BREADTHS if "HNSW" in name else (None,)
    tried = []
    for probes, breadth, refine in product(_PROBES, breadths, _REFINE):
        result = _ask(nearest, queries, Path(folder), (probes, breadth, refine))
        tried.append({"probes": probes, "breadth": breadth, "refine": refine} | result)
    enough = [result for result in tried if min(result["recall"]) >= _ENOUGH]
    best = (
        min(enough, key=lambda result: float(result["processor"]))
        if enough
        else max(tried, key=lambda result: float(min(result["recall"])))
    )
    return best | {"memory": memory("VmRSS") - before}


def _ask(nearest: Any, queries: Any, folder: Path, setting: tuple[Any, ...]) -> dict[str, Any]:
    nearest(queries[0], *setting)
    found, milliseconds, began = [], [], time.process_time()
    for query in queries:
        start = time.perf_counter()
        found.append(nearest(query, *setting))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    processor = 1e3 * (time.process_time() - began) / len(queries)
    p50, p95 = np.percentile(milliseconds, [50, 95]).tolist()
    return {"p50": p50, "p95": p95, "processor": processor, "recall": recall(folder, found)}


def _place(folder: str, name: str) -> Path:
    return Path(folder, f"index-{name.replace(', ', '-').replace(' ', '-')}.db")
