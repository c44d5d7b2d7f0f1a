"""How near encoding on a CPU comes to the matrix products that it consists of.

    python benchmarks/ceiling.py
    python benchmarks/ceiling.py --architectures ViT-B/16 --threads 2

The ceiling of a tower is what this machine makes of the six matrix products of its layers and
nothing else: the same shapes and dtype, weights as the tower holds them, outputs in memory that is
there already, a micro-batch at a time. The share is the arithmetic that encoding cannot do without
(real tokens only, of causal attention the half that is seen, of the last layer what is read) over
the time it takes, divided by the ceiling. Products and encoding take turns, and of each the best
round counts: other work on the machine only ever adds to the time. One thread is timed by what it
computes, several by the clock.
"""

import time
from collections.abc import Callable
from typing import Annotated, Literal

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from torch import Tensor

from figures import Figure, record
from longclip.model import CLIP
from longclip.model.architectures import ARCHITECTURES
from longclip.model.micro_batches import SMALL_TOKEN_BUDGET
from longclip.model.stretch import stretch
from longclip.model.transformer import Encoder, Layer
from longclip.spec import EOT
from train_step_pairs import needed_flops, text_lengths

Work = Callable[[], object]


def products(encoder: Encoder, tokens: int) -> tuple[Work, float]:
    """The matrix products of all layers for so many tokens, and their arithmetic."""
    layers = [layer for layer in encoder.layers if isinstance(layer, Layer)]
    linears = [
        linear
        for layer in layers
        for attention, mlp in [(layer.self_attn, layer.mlp)]
        for linear in (
            *(attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj),
            *(mlp.fc1, mlp.fc2),
        )
    ]
    dtype = linears[0].weight.dtype
    inputs = {n: torch.randn(tokens, n).to(dtype) for n in {each.in_features for each in linears}}
    outputs = {
        n: torch.empty(tokens, n, dtype=dtype) for n in {each.out_features for each in linears}
    }

    def work() -> None:
        for linear in linears:
            x, out = inputs[linear.in_features], outputs[linear.out_features]
            torch.mm(x, linear.weight.T, out=out)

    return work, sum(2.0 * tokens * linear.weight.numel() for linear in linears)


def long_ids(count: int) -> Tensor:
    """Random ids of texts as long as ShareGPT4V's, int64 [count, longest]."""
    lengths = text_lengths(count, seed=1)[0]
    ids = torch.randint(1, EOT - 1, (count, int(lengths.max())))
    ids[torch.arange(ids.shape[1]) >= torch.from_numpy(lengths)[:, None] - 1] = EOT
    return ids


@torch.inference_mode()
def measure(name: str, dtype: torch.dtype, images: int, texts: int, rounds: int) -> None:
    """Print ceiling, speed and share of both towers of an architecture."""
    torch.manual_seed(0)
    model = stretch(CLIP(ARCHITECTURES[name])).to(dtype).eval()
    config = model.config
    assert config.vision
    size = config.vision.image_size
    pixels, ids = torch.randn(images, 3, size, size).to(dtype), long_ids(texts)
    none = np.zeros(0, np.int64)
    vision, text = model.vision_model.encoder, model.text_model.encoder
    assert isinstance(vision, Encoder)
    jobs: dict[str, tuple[Encoder, Work, float, int]] = {
        "images": (
            vision,
            lambda: model.encode_image(pixels),
            needed_flops(config, none, images),
            images,
        ),
        "long texts": (
            text,
            lambda: model.text_features(ids),
            needed_flops(config, text_lengths(texts, seed=1)[0], 0),
            texts,
        ),
    }
    for what, (encoder, encode, flops, count) in jobs.items():
        multiply, multiplied = products(encoder, SMALL_TOKEN_BUDGET)
        seconds = [
            (seconds_of(multiply) / multiplied, seconds_of(encode) / flops) for _ in range(rounds)
        ]
        ceiling, encoding = (1e-9 / min(column) for column in zip(*seconds, strict=True))
        share = encoding / ceiling
        precision = str(dtype).removeprefix("torch.")
        what_of = f"{name}, {what}, {precision}, {torch.get_num_threads()} threads"
        record(Figure(what_of, "GFLOP/s", encoding, "matrix products alone", ceiling))
        print(
            f"| {name} | {what} | {ceiling:.0f} | {encoding:.0f} | {share:.1%} | "
            f"{1e9 * encoding * count / flops:.2f} |",
            flush=True,
        )


def seconds_of(work: Work) -> float:
    """Seconds of a call: the processor's where one thread computes, else the clock's."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    work()
    return clock() - began


def main(
    *,
    architectures: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    precision: Literal["bfloat16", "float32"] = "float32",
    threads: int = 1,
    images: int = 10,
    texts: int = 16,
    rounds: int = 8,
) -> None:
    """Print what share of the machine's matrix products encoding reaches.

    Args:
        architectures: shapes of random weights; ViT-B/16 and ViT-L/14 by default.
        precision: of weights and activations.
        threads: for torch.
        images: pictures that are encoded.
        texts: long texts that are encoded.
        rounds: turns of products and encoding.
    """
    torch.set_num_threads(threads)
    has = torch.cpu.get_capabilities()
    units = " ".join(unit for unit in ("avx512_f", "avx512_bf16", "amx_bf16") if has.get(unit))
    print(f"torch {torch.__version__}, {precision}, {threads} threads, {units}\n")
    print("| | | products, GFLOP/s | encoding, GFLOP/s | share | a second |")
    print("|---|---|---:|---:|---:|---:|")
    for name in architectures or ["ViT-B/16", "ViT-L/14"]:
        measure(name, getattr(torch, precision), images, texts, rounds)


if __name__ == "__main__":
    cyclopts.run(main)
