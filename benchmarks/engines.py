"""Speed of the engines: torch, onnxruntime and OpenVINO, in the same process, in turns.

    longclip convert ViT-B/16 b16-onnx --to onnx --int8 --data photos
    python benchmarks/engines.py --weights b16 --onnx b16-onnx

Without directories it writes a ViT-B/16 of 248 tokens with random weights, and its ONNX files, into
`--out`; those of 8 bits are calibrated on noise, which says nothing of recall. Each
contestant embeds the same texts (descriptions of drawn scenes,
sorted and cut into micro-batches by its encoder) and the same pixels, `--rounds` times in turns;
the medians are told, and what they are to torch in float32. Which engine `--engine auto` takes
rests on this table (docs/onnx.md).
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cyclopts
import numpy as np
import torch

import longclip
from figures import Figure, record
from longclip import scenes
from longclip.encoders.engines import open_model
from longclip.encoders.model_encoder import ModelEncoder
from longclip.util.hardware import has_fast_bfloat16

BASE = "torch, float32"


def main(
    *,
    out: Path = Path("runs/engines"),
    weights: Path | None = None,
    onnx: Path | None = None,
    texts: int = 48,
    images: int = 16,
    rounds: int = 5,
    threads: int = os.cpu_count() or 1,
    only: tuple[str, ...] = (),
) -> None:
    """Compare the engines.

    Args:
        out: where a model is written, where none is named.
        weights: a model directory.
        onnx: ONNX files of the same model.
        texts: descriptions to embed, and as many of their first sentences.
        images: pictures to embed.
        rounds: turns of each engine.
        threads: of all engines.
        only: contestants by the beginnings of their names.
    """
    torch.set_num_threads(threads)
    weights, onnx = (weights, onnx) if weights and onnx else _write_model(out)
    contestants = _open(weights, onnx, threads)
    if only:
        contestants = {n: e for n, e in contestants.items() if n.startswith((BASE, *only))}
    long = [scenes.describe(scenes.make_scene("test", i)) for i in range(texts)]
    work: dict[str, tuple[int, Callable[[ModelEncoder], object]]] = {}
    first = contestants[BASE]
    ids = first.tokenizer.encode(long, context_length=first.context_length)
    short = first.tokenizer.encode([text.partition(".")[0] for text in long])
    side = first.preprocess.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    work["long texts/s"] = (texts, lambda encoder: encoder.embed_ids(ids))
    work["short texts/s"] = (texts, lambda encoder: encoder.embed_ids(short))
    work["one short text, ms"] = (1, lambda encoder: encoder.embed_ids(short[:1]))
    work["images/s"] = (images, lambda encoder: encoder.embed_pixels(pixels))
    print(f"{threads} threads, {np.mean([len(one) for one in ids]):.0f} tokens a long text")
    print(f"| engine | {' | '.join(work)} |\n|{'---|' * (len(work) + 1)}")
    found = {name: dict[str, float]() for name in contestants}
    for what, (count, embed) in work.items():
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(rounds + 1):
            for name, encoder in contestants.items():
                began = time.perf_counter()
                embed(encoder)
                if turn:  # the first warms up
                    times[name].append(time.perf_counter() - began)
        for name, seconds in times.items():
            middle = statistics.median(seconds)
            found[name][what] = 1000 * middle if "ms" in what else count / middle
    for name, numbers in found.items():
        cells = []
        for what, number in numbers.items():
            ratio = number / found[BASE][what]
            cells.append(f"{number:.1f} ({1 / ratio if 'ms' in what else ratio:.2f}×)")
        print(f"| {name} | {' | '.join(cells)} |")
        if name != BASE:
            for what in ("long texts/s", "images/s"):
                unit = what.split()[-1]
                record(Figure(f"{what}, {name}", unit, numbers[what], BASE, found[BASE][what]))


def _write_model(out: Path) -> tuple[Path, Path]:
    """Return the directories of a ViT-B/16 of 248 tokens and of its ONNX files."""
    from longclip.export import export_onnx
    from longclip.export.quantize import quantize_images, quantize_text
    from longclip.model.pretrained import untrained

    weights, onnx = out / "weights", out / "onnx"
    text, image = (onnx / "onnx" / f"{tower}_model.onnx" for tower in ("text", "vision"))
    if not weights.exists():
        torch.manual_seed(0)
        longclip.save(longclip.stretch(untrained("ViT-B/16"), 248), weights)
    if not image.exists():
        export_onnx(weights, onnx)
    if not (eight := text.with_name("text_model_quantized.onnx")).exists():
        quantize_text(text, eight)
    if not (eight := image.with_name("vision_model_quantized.onnx")).exists():
        noise = np.random.default_rng(0).standard_normal((4, 3, 224, 224))
        quantize_images(image, eight, noise.astype(np.float32))
    return weights, onnx


def _open(weights: Path, onnx: Path, threads: int) -> dict[str, ModelEncoder]:
    from longclip.encoders.onnx_encoder import open_onnx
    from longclip.encoders.onnx_files import find_onnx_files
    from longclip.encoders.openvino_encoder import open_openvino
    from longclip.errors import EncoderError

    found = {BASE: open_model(str(weights), engine="torch", dtype="float32", device="cpu")}
    if has_fast_bfloat16("cpu"):
        found["torch, bfloat16"] = open_model(
            str(weights), engine="torch", dtype="bfloat16", device="cpu"
        )
    for precision in ("float32", "int8"):
        try:
            find_onnx_files(onnx, precision)
        except EncoderError as error:
            print(error, file=sys.stderr)
            continue
        for opened in (open_onnx, open_openvino):
            encoder = opened(onnx, precision, threads=threads)
            found[encoder.engine] = encoder
    return found


if __name__ == "__main__":
    cyclopts.run(main)
