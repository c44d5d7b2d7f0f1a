"""Kill an indexing process again and again, at random moments, and run it again.

Each run indexes some made-up photos, then what becomes of them when some are changed, moved and
deleted. It must end with the rows of one that nothing happened to, and leave nothing behind.

    python benchmarks/killed_indexing.py --kills 100
"""

import argparse
import hashlib
import os
import pickle
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import longclip
from longclip.model import CLIP

_PHOTOS = 60
_ROWS_PER_WRITE = 3
_ROUNDING = 2e-3
"""Most that a vector differs by: another batch rounds otherwise, and the database keeps 16 bits."""

Rows = dict[str, tuple[str, Any]]
"""Digest of the file, and the vector, by name."""


def write_photo(path: Path, seed: int) -> None:
    """Write noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def make_photos(folder: Path) -> None:
    """Write the photos of the first indexing."""
    folder.mkdir()
    for i in range(_PHOTOS):
        write_photo(folder / f"{i}.jpg", i)


def change_photos(folder: Path) -> None:
    """Change, move, delete and add a few photos each."""
    for i in range(6):
        write_photo(folder / f"{i}.jpg", 1000 + i)
        (folder / f"{6 + i}.jpg").rename(folder / f"moved-{i}.jpg")
        (folder / f"{12 + i}.jpg").unlink()
        write_photo(folder / f"new-{i}.jpg", 2000 + i)


def start(work: Callable[[Callable[[], None]], None]) -> tuple[int, int]:
    """Fork a process that works; importing torch anew would take longer.

    Returns its number, and a pipe in which something comes when it has imported the rest.
    """
    # LanceDB has threads from its import on, which no fork copies: only children import it.
    reads, writes = os.pipe()
    child = os.fork()
    if child:
        os.close(writes)
        return child, reads
    status = 1
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        work(lambda: os.close(writes))
        status = 0
    finally:
        os._exit(status)


def index_photos(folder: Path, db: Path, model: CLIP, ready: Callable[[], None]) -> None:
    """Index a folder in pieces of a few rows, with threads that decode."""
    import lancedb  # noqa: F401 (takes as long as all the rest)

    from longclip.search.indexing import outcomes
    from longclip.search.indexing.index import index

    outcomes._ROWS_PER_WRITE = _ROWS_PER_WRITE
    ready()
    report = index([folder], db, model, model_name="nano", batch_size=4, workers=2)
    assert not report.bad, report.bad


def read_rows(folder: Path, db: Path) -> Rows:
    """Read all rows in a process of its own; each photo must be there once."""
    file = db.parent / "rows.pickle"

    def work(ready: Callable[[], None]) -> None:
        from longclip.search.database.store import Store

        store = Store.open(str(db))
        uris = [uri for batch in store.scan(["uri"]) for uri in batch["uri"].to_pylist()]
        assert len(set(uris)) == len(uris) == len(store), "a row is there twice"
        rows = store.rows("uri", uris)
        found = {Path(row.facts.uri).name: (row.facts.sha256, row.vector) for row in rows}
        file.write_bytes(pickle.dumps(found))
        # What is referred to by no version stays behind for a week; it would show now.
        store._table.optimize(cleanup_older_than=timedelta(0))

    child, pipe = start(work)
    os.close(pipe)
    assert os.waitpid(child, 0)[1] == 0, f"{db} cannot be read"
    rows: Rows = pickle.loads(file.read_bytes())
    for path in folder.iterdir():
        assert rows[path.name][0] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(rows) == len(list(folder.iterdir()))
    return rows


def moment(db: Path) -> str:
    """Say what a process that was killed was doing, by what is in its place."""
    tables = [path for path in db.glob("*.lance") if path.is_dir()]
    if not tables:
        return "before there was a table"
    versions = len(list(db.glob("*.lance/_versions/*")))
    return "before the first rows" if versions < 4 else "between or in writing and compacting"


def left_behind(db: Path) -> dict[str, int]:
    """Count the files of a database by their folder; names are random."""
    counts = Counter(str(path.parent.relative_to(db)) for path in db.rglob("*") if path.is_file())
    return dict(counts)


def group_is_gone(child: int) -> bool:
    """Return whether no process of a child's group is left."""
    try:
        os.killpg(child, 0)
    except ProcessLookupError:
        return True
    return False


def main() -> None:
    """Kill, index again, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, moments, ended = random.Random(arguments.seed), Counter[str](), 0
    model = longclip.load("nano")
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        expected: list[Rows] = []
        usual: dict[str, int] = {}
        seconds, widest = 1.0, 0.0
        while not expected or moments.total() < arguments.kills:
            # The first one is left alone.
            kills = arguments.kills if expected else 0
            place = top / f"run-{ended}"
            place.mkdir()
            folder, db = place / "photos", place / "db"
            for phase, prepare in enumerate((make_photos, change_photos)):
                prepare(folder)
                while True:
                    child, pipe = start(lambda ready: index_photos(folder, db, model, ready))  # noqa: B023
                    os.read(pipe, 1)
                    os.close(pipe)
                    began = time.perf_counter()
                    # One in four is left alone, or a run would hardly end.
                    until = began + (chance.uniform(0, seconds) if chance.random() < 0.75 else 3600)
                    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
                        if time.perf_counter() >= until and moments.total() < kills:
                            os.kill(child, signal.SIGKILL)
                            status = os.waitpid(child, 0)
                            break
                        time.sleep(0.001)
                    assert group_is_gone(child)
                    if not os.WIFSIGNALED(status[1]):
                        assert status[1] == 0, "an indexing that was run again has failed"
                        break
                    moments[moment(db)] += 1
                    print(f"{moments.total()} kills, {ended} runs", end="\r", flush=True)
                taken = time.perf_counter() - began
                rows = read_rows(folder, db)
                if len(expected) == phase:
                    expected.append(rows)
                    # So that most are killed, and some of those in their last moments.
                    seconds = 0.8 * taken
                    print(f"left alone it takes {taken:.2f} s", flush=True)
                assert rows.keys() == expected[phase].keys()
                for name_of, (sha256, vector) in rows.items():
                    assert sha256 == expected[phase][name_of][0]
                    off = float(np.abs(vector - expected[phase][name_of][1]).max())
                    assert off < _ROUNDING, (name_of, off)
                    widest = max(widest, off)
            files = left_behind(db)
            usual = usual or files
            assert files.keys() == usual.keys(), (files, usual)
            assert files["images.lance/data"] == usual["images.lance/data"], (files, usual)
            ended += 1
            print(f"{moments.total()} kills, {ended} runs: {files}", flush=True)
    print(f"{moments.total()} kills, {ended} runs: the same rows; vectors within {widest:.1e}")
    for what, count in moments.most_common():
        print(f"  {count:4} {what}")


if __name__ == "__main__":
    main()
