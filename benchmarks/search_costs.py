"""`search.py --costs`: what one image takes, at each step of indexing and afterwards."""

import argparse
import hashlib
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_indexing import make_images
from search_jobs import ask, disk, processor_seconds, table, write_model

_WRITES = 8
_THUMBNAIL = 9_000


def compare(a: argparse.Namespace) -> None:
    """Print the costs of a step, and of a whole run with Ray beside one without."""
    model = write_model(a.architecture, a.out)
    folder = a.images or make_images(a.out, a.count, a.pixels)
    steps = [ask("steps", folder=str(folder), model=str(model)) for _ in range(a.rounds)]
    print(f"\none image of {folder.name}, {a.architecture} in {steps[0]['precision']}\n")
    rows = []
    for name in ("read and hash", "decode, thumbnail", "embed"):
        wall = 1e3 * statistics.median(step[name][0] for step in steps)
        used = 1e3 * statistics.median(step[name][1] for step in steps)
        rows.append((name, f"{wall:.2f}", f"{used:.2f}"))
    table(("step, one thread but for embedding", "ms", "processor ms"), rows)
    place = a.out / f"vectors-{max(a.vectors)}" / "longclip.db"
    if place.exists():
        _tell_writing(place, a.out / "written.db")
    runs: dict[str, list[dict[str, Any]]] = {"local": [], "ray": []}
    for _ in range(a.rounds):
        for engine, results in runs.items():
            options = {"folder": str(folder), "model": str(model), "engine": engine}
            results.append(ask("engine", out=str(a.out / "engine.db"), **options))
    lines = []
    for engine, results in runs.items():
        speed = statistics.median(each["images"] / each["reading"] for each in results)
        again = statistics.median(1e3 * each["again"] / each["images"] for each in results)
        start = statistics.median(each["seconds"] - each["reading"] for each in results)
        per_row = statistics.median(each["disk"] / each["images"] for each in results)
        lines.append((engine, f"{speed:.2f}", f"{start:.1f}", f"{again:.3f}", f"{per_row:,.0f}"))
    heads = ("images/s", "seconds besides", "unchanged, ms/image", "bytes/image on disk")
    table(("engine", *heads), lines)


def measure_steps(folder: str, model: str) -> dict[str, Any]:
    """Seconds for an image, and of processors, of each step by itself."""
    import longclip
    from longclip.encoders.model_encoder import as_encoder
    from longclip.search.indexing.image_loader import Decoding, decode
    from longclip.util.hardware import fast_dtype

    dtype = fast_dtype()
    clip = longclip.load(model, dtype=dtype)
    encoder = as_encoder(clip)
    how = Decoding(clip.preprocess.pixels)
    files = sorted(Path(folder).glob("**/*.jpg"))[:64]
    contents: list[bytes] = []
    decoded: list[Any] = []

    def read() -> None:
        for file in files:
            contents.append(file.read_bytes())
            hashlib.sha256(contents[-1]).hexdigest()

    def decode_all() -> None:
        decoded.extend(decode(content, how) for content in contents)

    def embed() -> None:
        encoder.embed_pixels(np.stack([each.pixels for each in decoded]))

    result: dict[str, Any] = {"precision": str(dtype).removeprefix("torch.")}
    result["read and hash"] = _timed(read, len(files))
    result["decode, thumbnail"] = _timed(decode_all, len(files))
    embed()
    result["embed"] = _timed(embed, len(files))
    return result


def _timed(work: Callable[[], None], count: int) -> tuple[float, float]:
    began, used = time.perf_counter(), processor_seconds()
    work()
    return (time.perf_counter() - began) / count, (processor_seconds() - used) / count


def _tell_writing(place: Path, copy: Path) -> None:
    rows = []
    for size in (512, 4096, 16384):
        result = ask("write", place=str(place), copy=str(copy), size=size)
        rows.append((f"{size:,}", f"{result['rows']:,.0f}", f"{1e3 * result['commit']:.0f}"))
    print(f"rows with thumbnails of {_THUMBNAIL:,} bytes into a database of {place.parent.name}")
    table(("rows in a commit", "rows/s", "ms for a commit"), rows)


def measure_writing(place: str, copy: str, size: int) -> dict[str, Any]:
    """Rows that come in beside those that are there, as one process writes them."""
    from longclip.search.database.schema import Facts, ImageRow
    from longclip.search.database.store import Store

    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(place, copy)
    store = Store.open(copy)
    random = np.random.default_rng(size)
    seconds = []
    for number in range(_WRITES):
        vectors = random.standard_normal((size, store.about.width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = []
        for i, vector in enumerate(vectors):
            name = f"{number:04}-{i:06}.jpg"
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            facts = Facts(f"/new/{name}", "/new", "/new", name, sha256, 100_000)
            rows.append(ImageRow(facts, vector, random.bytes(_THUMBNAIL)))
        began = time.perf_counter()
        store.put(rows)
        seconds.append(time.perf_counter() - began)
    shutil.rmtree(copy)
    commit = statistics.median(seconds)
    return {"rows": size / commit, "commit": commit}


def measure_engine(folder: str, model: str, engine: str, out: str) -> dict[str, Any]:
    """A whole run, and one after it that finds nothing new."""
    import longclip
    from longclip.search import Cluster, index
    from longclip.util.hardware import fast_dtype

    shutil.rmtree(out, ignore_errors=True)
    clip = longclip.load(model, dtype=fast_dtype())
    cluster = Cluster() if engine == "ray" else None
    first = index([folder], out, clip, model_name=model, cluster=cluster)
    began = time.perf_counter()
    index([folder], out, clip, model_name=model, cluster=cluster)
    return {
        "images": first.embedded,
        "seconds": first.seconds,
        "reading": first.embedded / first.images_per_second,
        "again": time.perf_counter() - began,
        "disk": disk(Path(out)),
    }
