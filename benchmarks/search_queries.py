"""`search.py --queries`: seconds of a query, what it finds, and what it took to get there."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from figures import Figure, record
from search_engines import ENGINES
from search_jobs import ask, chosen, disk, memory, table
from search_vectors import QUERIES, WIDTH, make_vectors, recall


def compare(a: argparse.Namespace) -> None:
    """Print a table for each number of vectors."""
    from longclip.search.database.vector_index import EXACT_BELOW

    exact_below = EXACT_BELOW if a.exact_below is None else a.exact_below
    names = chosen(list(ENGINES), a.only)
    for count in a.vectors:
        folder = a.out / f"vectors-{count}"
        make_vectors(folder, count)
        built = {name: making_of(name, folder, exact_below) for name in names}
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for _ in range(a.rounds):
            for name in names:
                found[name].append(ask("ask", name=name, folder=str(folder)))
        print_results(folder, count, built, found)


def making_of(name: str, folder: Path, exact_below: int) -> dict[str, Any]:
    """Return what making it took, now or when it was made."""
    report = folder / f"{ENGINES[name].made}.built.json"
    if not report.exists():
        print(f"making {report.name.removesuffix('.built.json')} in {folder}")
        result = ask("build", name=name, folder=str(folder), exact_below=exact_below)
        if "failed" in result:
            raise SystemExit(f"{name}: {result['failed']} while it was made")
        report.write_text(json.dumps(result))
    built: dict[str, Any] = json.loads(report.read_text())
    return built


def print_results(
    folder: Path,
    count: int,
    built: dict[str, dict[str, Any]],
    found: dict[str, list[dict[str, Any]]],
) -> None:
    """Print one table; `ours ÷ this` is of the first row's median."""
    print(f"\n{count:,} vectors of width {WIDTH}, {2 * QUERIES} queries a round, 10 nearest")
    notes = {note for each in built.values() if (note := each["note"])}
    print("\n".join(f"- {note}" for note in sorted(notes)))
    medians = {
        name: float(np.median(_pooled(results)))
        for name, results in found.items()
        if not any("failed" in result for result in results)
    }
    first = next(iter(found))
    rows = []
    for name, results in found.items():
        if name not in medians:
            rows.append((name, str(results[-1].get("failed")), *[""] * 9))
            continue
        images, texts = recall(folder, results[0]["found"])
        ratio = f"{medians[name] / medians[first]:.3g}×" if first in medians else ""
        made = built[name]
        rows.append(
            (
                name,
                f"{medians[name]:.2f}",
                f"{np.percentile(_pooled(results), 95):.2f}",
                ratio,
                f"{images:.3f}",
                f"{texts:.3f}",
                f"{made['filled'] + made['indexed']:.1f}",
                f"{made['memory'] / 1e9:.2f}",
                f"{made['disk'] / 1e9:.3f}",
                f"{max(result['memory'] for result in results) / 1e9:.2f}",
                f"{np.median([result['started'] for result in results]):.2f}",
            )
        )
    for name in (name for name in medians if name.startswith("longclip")):
        late = float(np.percentile(_pooled(found[name]), 95))
        what = f"{name}, {count:,} vectors, 95 % of queries within"
        record(Figure(what, "ms", late, lower_is_better=True))
    speed = ("p50, ms", "p95, ms", "this ÷ ours", "recall@10, images", "texts")
    cost = ("made, s", "memory for that, GB", "disk, GB", "memory, GB", "first answer, s")
    table(("", *speed, *cost), rows)


def measure_building(name: str, folder: str, exact_below: int) -> dict[str, Any]:
    """Make what a contestant searches in."""
    engine, place = ENGINES[name], Path(folder)
    vectors = np.load(place / "vectors.npy", mmap_mode="r")
    before = memory("VmRSS")
    result = engine.build(vectors, place / engine.made, exact_below)
    return result | {"memory": memory() - before, "disk": disk(place / engine.made)}


def measure_asking(name: str, folder: str) -> dict[str, Any]:
    """Open and ask: seconds to the first answer, imports left out, and of each query after it."""
    engine, place = ENGINES[name], Path(folder)
    queries = np.load(place / "queries.npy")
    _import(name)
    before, began = memory("VmRSS"), time.perf_counter()
    nearest = engine.open(place / engine.made)
    nearest(queries[0])
    started = time.perf_counter() - began
    found, milliseconds = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(nearest(query))
        milliseconds.append(1e3 * (time.perf_counter() - began))
    return {
        "started": started,
        "milliseconds": milliseconds,
        "memory": memory() - before,
        "found": found,
    }


def _import(name: str) -> None:
    if name.startswith("longclip"):
        import lancedb  # noqa: F401

        import longclip.search.query.searcher  # noqa: F401
    elif name.startswith("sentence"):
        import sentence_transformers.util  # noqa: F401
    else:
        import faiss  # noqa: F401

        import search_peers  # noqa: F401


def _pooled(results: list[dict[str, Any]]) -> list[float]:
    return [value for result in results for value in result["milliseconds"]]
