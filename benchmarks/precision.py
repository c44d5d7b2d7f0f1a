"""Recall of one model in float32, bfloat16, float16 and int8, in one table.

    python benchmarks/precision.py MODEL --data DATA --out runs/precision

DATA holds flickr8k/{train,test}.parquet and nlvr/test.parquet; the drawn scenes come with the
package. float32 and bfloat16 are torch's, float16 and int8 those of ONNX files in onnxruntime, made
here of MODEL. The ranges of int8's activations come from training photos (drawings without DATA),
or from what --calibrate names; no picture that is measured has a part in them.

float32 has recall@1 in per cent with its 95 % bootstrap interval over pictures; those of the
others are what they change of it, in points, with the interval of the paired difference.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

import longclip
from figures import Figure, record
from longclip.data import open_collection
from longclip.data.collection import Collection
from longclip.data.holdout import Subset
from longclip.encoders import open_encoder
from longclip.encoders.onnx_encoder import open_onnx
from longclip.evaluation import EvaluateConfig, bootstrap_recall, compare_recall, evaluate
from longclip.evaluation.results import TextRetrieval
from longclip.export import Int8, export_onnx
from longclip.util.files import write_text
from longclip.util.terminal import progress_display

PRECISIONS = ("float32", "bfloat16", "float16", "int8")
TESTS = ("flickr8k/test.parquet", "nlvr/test.parquet", "scenes/test", "scenes/test-short")
WAYS = {"image_to_text": "I2T", "text_to_image": "T2I"}


def collections(data: Path | None, limit: int | None) -> Iterator[tuple[str, Collection]]:
    """Open every test set that is there, or the first pictures of it."""
    for name in TESTS:
        drawn = name.startswith("scenes")
        if drawn or data is not None:
            whole = open_collection(name if drawn else data / name, texts_only=True)
            items = torch.arange(min(len(whole), limit or len(whole))).numpy()
            yield name.removesuffix(".parquet"), Subset(whole, items)


def calibration(data: Path | None) -> str:
    """Return the photos that ranges of activations come from, or drawings without any."""
    return "scenes/train" if data is None else str(data / "flickr8k/train.parquet")


def cell(found: TextRetrieval, exact: TextRetrieval, way: str) -> dict[str, float]:
    """Return recall@1 and its difference from float32's, with their intervals, in per cent."""
    own = getattr(bootstrap_recall(found.recall, found.image_of_text), way)[1]
    gain = getattr(compare_recall(exact.recall, found.recall, found.image_of_text), way)[1].interval
    parts = {"": own, "difference_": gain}
    return {
        f"{part}{name}": round(100 * getattr(interval, name), 2)
        for part, interval in parts.items()
        for name in ("value", "low", "high")
    }


def main() -> None:
    """Export, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("--stretch", action="store_true", help="MODEL to 248 tokens first")
    parser.add_argument("--data", type=Path, help="folder of flickr8k and nlvr; else scenes alone")
    parser.add_argument("--calibrate", help="data of the ranges of int8")
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
    parser.add_argument("--limit", type=int, help="pictures of each test set")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.stretch:
        longclip.save(longclip.stretch(longclip.load(a.model)), a.out / "model")
        a.model = str(a.out / "model")
    # What it costs is measured below, on more than one data set.
    int8 = Int8(data=a.calibrate or calibration(a.data), max_recall_loss=100, pairs=16)
    with progress_display() as progress:
        whole = export_onnx(a.model, a.out / "onnx", int8=int8, on_progress=progress)
        half = export_onnx(a.model, a.out / "fp16", precision="float16", on_progress=progress)
        encoders = {
            "float32": open_encoder(a.model),
            "bfloat16": open_encoder(a.model, dtype=torch.bfloat16),
            "float16": open_onnx(a.out / "fp16", "float16"),
            "int8": open_onnx(a.out / "onnx", "int8"),
        }
        rows: list[dict[str, object]] = []
        config = EvaluateConfig(tasks=("long", "short"), ks=(1,))
        for name, collection in collections(a.data, a.limit):
            results = {
                precision: evaluate(
                    encoder, collection, name=precision, config=config, on_progress=progress
                )
                for precision, encoder in encoders.items()
            }
            for task in config.tasks:
                found = {precision: getattr(result, task) for precision, result in results.items()}
                exact = found["float32"]
                if exact is None:
                    continue
                for way in WAYS:
                    cells = {precision: cell(found[precision], exact, way) for precision in found}
                    head = {"data": name, "task": task, "way": WAYS[way]}
                    pool = {"images": exact.recall.images, "texts": exact.recall.texts}
                    rows.append({**head, **pool, **cells})
                    record(
                        Figure(
                            f"int8, {name}, {task} texts, {WAYS[way]} R@1",
                            "%",
                            cells["int8"]["value"],
                            "float32",
                            cells["float32"]["value"],
                        )
                    )
    sizes = {tower.file: tower.bytes for export in (whole, half) for tower in export.towers}
    written = {"model": a.model, "bytes": sizes, "rows": rows}
    write_text(a.out / "precision.json", json.dumps(written, indent=2) + "\n")
    print(table(rows))
    for file, size in sizes.items():
        print(f"{file}: {size / 1e6:,.1f} MB")
    print(f"written: {a.out / 'precision.json'}")


def table(rows: list[dict[str, object]]) -> str:
    """Return the rows in Markdown."""
    lines = [f"| data | texts | way | pool | {' | '.join(PRECISIONS)} |"]
    lines.append("|---|---|---|---|" + "---|" * len(PRECISIONS))
    for row in rows:
        shown = []
        for precision in PRECISIONS:
            c = row[precision]
            assert isinstance(c, dict)
            part = "" if precision == "float32" else "difference_"
            value, low, high = (c[f"{part}{name}"] for name in ("value", "low", "high"))
            sign = "+" if part else ""
            text = f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"
            shown.append(text)
        pool = f"{row['images']:,} × {row['texts']:,}"
        lines.append(
            f"| {row['data']} | {row['task']} | {row['way']} | {pool} | {' | '.join(shown)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
