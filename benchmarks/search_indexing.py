"""`search.py --index`: from JPEG files to what can be searched."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from figures import Figure, record
from longclip.spec import Engine
from longclip.util.hardware import has_fast_bfloat16
from search_jobs import ask, chosen, memory, processor_seconds, table, write_model

CONTESTANTS = (
    "longclip, bfloat16",
    "longclip, float32",
    "longclip by onnxruntime, int8",
    "longclip by OpenVINO, int8",
    "sentence-transformers, bfloat16",
    "sentence-transformers, float32",
    "clip-retrieval's loop, float32",
    "clip-retrieval's loop, bfloat16",
)
SAME = {"float32": 0.999, "bfloat16": 0.9, "int8": 0.5}
"""Least cosine with ours in float32 of what sets an image apart, the mean of all subtracted:
random weights give all pictures nearly the same embedding, so plain cosines say nothing. Nor does
theirs in 8 bits, of which benchmarks/precision.py tells what it costs in recall."""

_Work = Callable[[], NDArray[Any]]


def compare(a: argparse.Namespace) -> None:
    """Print images per second of all."""
    import longclip
    from longclip.model.convert import convert

    model = write_model(a.architecture, a.out)
    other = model.with_name(f"{model.name}-openclip")
    if not other.exists():
        convert(model, other, "openclip")
    folder = a.images or make_images(a.out, a.count, a.pixels)
    files = sorted(folder.glob("**/*.jpg"), key=str)
    size = sum(len(file.read_bytes()) for file in files)  # and into the page cache
    print(
        f"{len(files)} images, {size / len(files) / 1e3:.0f} kB each; "
        f"{a.architecture}, {longclip.load(model, dtype=None).embedding_dim} numbers"
    )
    names = chosen(CONTESTANTS, a.only)
    if not a.only and not has_fast_bfloat16("cpu"):
        print("this processor emulates bfloat16, which is left out")
        names = [name for name in names if not name.endswith("bfloat16")]
    eight = model.with_name(f"{model.name}-onnx")
    if any(name.endswith("int8") for name in names):
        write_int8(model, eight, files[:64])
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(a.rounds):
        for name in names:
            place = other if name.startswith("clip-retrieval") else model
            place = eight if name.endswith("int8") else place
            out = a.out / "indexed" / name.replace(", ", "-").replace(" ", "-")
            options = {"folder": str(folder), "model": str(place), "out": str(out)}
            found[name].append(ask("index", name=name, **options))
    check(found)
    print_results(found, len(files))


def check(found: dict[str, list[dict[str, Any]]]) -> None:
    """Stop where embeddings are not those of ours in float32."""
    reference = next(name for name in ("longclip, float32", *found) if name in found)
    ours = np.load(found[reference][0]["embeddings"]).astype(np.float32)
    for name, results in found.items():
        theirs = np.load(results[0]["embeddings"]).astype(np.float32)
        assert theirs.shape == ours.shape, f"{name}: {theirs.shape} for {ours.shape}"
        plain = _cosines(ours, theirs).min()
        apart = _cosines(ours - ours.mean(axis=0), theirs - theirs.mean(axis=0))
        print(
            f"{name}: cosine with {reference} ≥ {plain:.6f}, of what sets images apart "
            f"≥ {apart.min():.4f}, in the median {np.median(apart):.4f}"
        )
        if np.median(apart) < SAME[name.partition(", ")[2]]:
            raise SystemExit(f"{name} computes something else; its times would mean nothing")


def print_results(found: dict[str, list[dict[str, Any]]], count: int) -> None:
    """Print the table; `ours ÷ this` is of the first row's images per second."""
    speeds = {
        name: count / statistics.median(result["seconds"] for result in results)
        for name, results in found.items()
    }
    work = {
        name: statistics.median(result["processor"] for result in results) / count
        for name, results in found.items()
    }
    first = next(iter(found))
    rows = [
        (
            name,
            f"{speeds[name]:.2f}",
            f"{speeds[first] / speeds[name]:.2f}×",
            f"{1e3 * work[name]:.0f}",
            f"{work[name] / work[first]:.2f}×",
            f"{max(result['memory'] for result in results) / 1e9:.2f}",
            f"{statistics.median(result['loaded'] for result in results):.1f}",
        )
        for name, results in found.items()
    ]
    best = max((name for name in speeds if "longclip" not in name), key=speeds.get, default=None)
    fast = max((name for name in speeds if "int8" in name), key=speeds.get, default=None)
    if best and fast:
        record(Figure(fast, "images/s", speeds[fast], best, speeds[best]))
    for precision in ("bfloat16", "float32"):
        same = {name: speed for name, speed in speeds.items() if name.endswith(precision)}
        peers = [name for name in same if not name.startswith("longclip")]
        ours = next((name for name in same if name.startswith("longclip")), None)
        if ours and peers:
            best = max(peers, key=same.__getitem__)
            record(
                Figure(f"equal precision, {precision}", "images/s", same[ours], best, same[best])
            )
    heads = ("images/s", "ours ÷ this", "processor ms/image", "this ÷ ours")
    table(("", *heads, "peak memory, GB", "model loaded, s"), rows)


def write_int8(model: Path, place: Path, files: Sequence[Path]) -> None:
    """Write the image tower's ONNX file of 8 bits, its ranges from some of these files."""
    from PIL import Image

    import longclip
    from longclip.export import export_onnx
    from longclip.export.quantize import quantize_images, quantize_text

    if not place.exists():
        export_onnx(model, place)
    text, image = (place / "onnx" / f"{tower}_model.onnx" for tower in ("text", "vision"))
    if not (eight := image.with_name("vision_model_quantized.onnx")).exists():
        way = longclip.load(model).preprocess
        pixels = np.stack([way.pixels(Image.open(file)) for file in files])
        normal = way.normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        quantize_text(text, text.with_name("text_model_quantized.onnx"))
        quantize_images(image, eight, normal.numpy())


def make_images(out: Path, count: int, pixels: str) -> Path:
    """Scenes as photographs: enlarged, with the noise of a camera, which is what JPEG has to code.

    They carry EXIF of a camera, as photographs do.
    """
    folder = out / f"images-{count}-{pixels}"
    if folder.exists():
        return folder
    from PIL import Image

    from longclip import scenes

    width, height = map(int, pixels.split("x"))
    noise = np.random.default_rng(0)
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Maker", "Model", 1
    unfinished = folder.with_suffix(".part")
    unfinished.mkdir(exist_ok=True)
    for number in range(count):
        drawn = scenes.draw(scenes.make_scene("train", number), 256)
        large = np.array(drawn.resize((width, height), Image.Resampling.BICUBIC), np.float64)
        large += noise.normal(0, 4, large.shape)
        picture = Image.fromarray(large.clip(0, 255).astype(np.uint8))
        picture.save(unfinished / f"{number:06}.jpg", quality=90, exif=exif)
    unfinished.rename(folder)
    return folder


def measure(name: str, folder: str, model: str, out: str) -> dict[str, Any]:
    """One contestant's turn, in a process of its own."""
    import shutil

    place = Path(out)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    kind, _, precision = name.partition(", ")
    start = {
        "longclip": partial(_ours, engine="torch"),
        "longclip by onnxruntime": partial(_ours, engine="onnx"),
        "longclip by OpenVINO": partial(_ours, engine="openvino"),
        "sentence-transformers": _sentence_transformers,
    }.get(kind, _loop)
    began = time.perf_counter()
    work = start(Path(folder), model, place, precision)
    loaded, used = time.perf_counter() - began, processor_seconds()
    began = time.perf_counter()
    vectors = work()
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "loaded": loaded,
        "seconds": seconds,
        "processor": processor_seconds() - used,
        "memory": memory(),
        "embeddings": str(place / "compared.npy"),
    }
    np.save(place / "compared.npy", _read_ours(place) if kind.startswith("longclip") else vectors)
    return result


def _ours(folder: Path, model: str, out: Path, precision: str, engine: Engine) -> _Work:
    import lancedb  # noqa: F401  (libraries are there before the clock runs, everybody's)

    import longclip
    from longclip.search import index

    clip = longclip.load(model, engine=engine, dtype=precision)

    def work() -> NDArray[Any]:
        report = index([folder], out / "db", clip, model_name=model)
        assert not report.bad, report.bad
        return np.empty(0)

    return work


def _read_ours(out: Path) -> NDArray[np.float32]:
    from longclip.search.database.reader import Reader, matrix

    rows: dict[str, NDArray[np.float32]] = {}
    for batch in Reader.open(str(out / "db")).scan(["uri", "vector"]):
        rows.update(zip(batch["uri"].to_pylist(), matrix(batch["vector"]), strict=True))
    return np.stack([rows[uri] for uri in sorted(rows)])


def _sentence_transformers(folder: Path, model: str, out: Path, precision: str) -> _Work:
    import logging

    from sentence_transformers import SentenceTransformer

    logging.disable(logging.WARNING)
    network = SentenceTransformer(
        model,
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": getattr(torch, precision)},
    )

    def work() -> NDArray[Any]:
        files = sorted(map(str, folder.glob("**/*.jpg")))
        vectors = network.encode(files, normalize_embeddings=True, show_progress_bar=False)
        np.save(out / "embeddings.npy", vectors)
        return vectors

    return work


def _loop(folder: Path, model: str, out: Path, precision: str) -> _Work:
    import faiss  # noqa: F401

    from search_peers import build_index, embed_folder, open_clip_model

    dtype = getattr(torch, precision)
    network = open_clip_model(Path(model), dtype)

    def work() -> NDArray[Any]:
        vectors = embed_folder(network, folder, dtype)
        np.save(out / "img_emb_0.npy", vectors)
        build_index(vectors, out / "image.index")
        return vectors

    return work


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float32] = (a * b).sum(axis=1) / lengths
    return cosines
