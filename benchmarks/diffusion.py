"""Costs of 248 tokens beside 77 in Stable Diffusion: arithmetic, time and memory of one image.

    python benchmarks/diffusion.py
    python benchmarks/diffusion.py --only sd1 --rounds 3

Real shapes with random weights; nothing is downloaded. Arithmetic is counted by torch without
computing anything; times are a forward pass with guidance (a batch of two), the two lengths in
turns in one process, and are of bfloat16. An image is one pass of the text encoders and `--steps`
of the U-Net.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

STOCK, LONG = 77, 248
GUIDED = 2
"""Prompt and negative prompt in one batch."""


@dataclass(frozen=True)
class Family:
    """A pipeline's text encoders and U-Net by their shapes, as their published files say."""

    title: str
    encoders: tuple[dict[str, Any], ...]
    unet: dict[str, Any]
    latent: int


CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12} | {
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23} | {
    "num_attention_heads": 16,
    "hidden_act": "gelu",
    "projection_dim": 512,
}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32} | {
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}

FAMILIES = {
    "sd1": Family(
        "SD 1.5, 512 × 512",
        (CLIP_L,),
        {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        64,
    ),
    "sd2": Family(
        "SD 2.1, 768 × 768",
        (CLIP_H,),
        {
            "sample_size": 96,
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        96,
    ),
    "sdxl": Family(
        "SDXL, 1024 × 1024",
        (CLIP_L, CLIP_G),
        {
            "sample_size": 128,
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        128,
    ),
}


def make(build: Callable[[], torch.nn.Module], device: str) -> torch.nn.Module:
    """A module with small random weights in bfloat16, never filled twice."""
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("meta"):
        module = build().eval()
    torch.set_default_dtype(torch.float32)
    if device == "meta":
        return module
    module = module.to_empty(device=device)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.fill_(1) if "norm" in name else tensor.uniform_(-0.02, 0.02)
    return module


def encoder_call(shape: dict[str, Any], tokens: int, device: str) -> Callable[[], Any]:
    """One text encoder reading a batch of `tokens` ids each."""
    import transformers

    config = transformers.CLIPTextConfig(**shape, max_position_embeddings=tokens)
    encoder = make(lambda: transformers.CLIPTextModelWithProjection(config), device)
    for module in encoder.modules():
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(tokens, device=device)[None]
    ids = torch.full((GUIDED, tokens), 49407, device=device)
    return lambda: encoder(ids, output_hidden_states=True)


def unet_calls(family: Family, device: str) -> dict[int, Callable[[], Any]]:
    """One U-Net pass for each length of text, all with the same weights."""
    import diffusers

    unet = make(lambda: diffusers.UNet2DConditionModel(**family.unet), device)
    latents = torch.zeros(GUIDED, 4, family.latent, family.latent, device=device)
    latents = latents.to(torch.bfloat16)
    more = {}
    if "addition_embed_type" in family.unet:
        pooled = torch.zeros(GUIDED, 1280, device=device, dtype=torch.bfloat16)
        more = {
            "added_cond_kwargs": {
                "text_embeds": pooled,
                "time_ids": torch.zeros(GUIDED, 6, device=device, dtype=torch.bfloat16),
            }
        }
    width = family.unet["cross_attention_dim"]

    def call(tokens: int) -> Callable[[], Any]:
        states = torch.zeros(GUIDED, tokens, width, device=device, dtype=torch.bfloat16)
        step = torch.tensor(500, device=device)
        return lambda: unet(latents, step, encoder_hidden_states=states, **more)

    return {tokens: call(tokens) for tokens in (STOCK, LONG)}


def flops(call: Callable[[], Any]) -> float:
    """Floating-point operations, a multiplication and an addition counted as two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def seconds(calls: dict[int, Callable[[], Any]], rounds: int) -> dict[int, float]:
    """Median of each, in turns, after one that is not counted."""
    taken: dict[int, list[float]] = {tokens: [] for tokens in calls}
    for round_ in range(rounds + 1):
        for tokens, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:
                taken[tokens].append(time.perf_counter() - start)
    return {tokens: statistics.median(values) for tokens, values in taken.items()}


def count(family: Family, steps: int) -> str:
    """Rows of the table of arithmetic: text, one step, one image."""
    text = {
        tokens: sum(flops(encoder_call(shape, tokens, "meta")) for shape in family.encoders)
        for tokens in (STOCK, LONG)
    }
    step = {tokens: flops(call) for tokens, call in unet_calls(family, "meta").items()}
    image = {tokens: text[tokens] + steps * step[tokens] for tokens in (STOCK, LONG)}
    cells = [_compared({t: value[t] / 1e12 for t in value}, "TFLOP") for value in (text, step)]
    return f"| {family.title} | {' | '.join(cells)} | {image[LONG] / image[STOCK]:.3f}× |"


def measure(family: Family, steps: int, rounds: int) -> str:
    """A row of the table of times."""
    text = {STOCK: 0.0, LONG: 0.0}
    for shape in family.encoders:
        calls = {tokens: encoder_call(shape, tokens, "cpu") for tokens in text}
        found = seconds(calls, rounds)
        text = {tokens: text[tokens] + found[tokens] for tokens in text}
    step = seconds(unet_calls(family, "cpu"), rounds)
    image = {tokens: text[tokens] + steps * step[tokens] for tokens in text}
    cells = [_compared(value, "s") for value in (text, step)]
    return f"| {family.title} | {' | '.join(cells)} | {image[LONG] / image[STOCK]:.3f}× |"


def table_bytes(family: Family) -> int:
    """Bytes that the longer position tables add, in bfloat16."""
    return sum(2 * (LONG - STOCK) * shape["hidden_size"] for shape in family.encoders)


def _compared(values: dict[int, float], unit: str) -> str:
    return f"{values[STOCK]:.3g} → {values[LONG]:.3g} {unit} ({values[LONG] / values[STOCK]:.3f}×)"


@torch.inference_mode()
def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--steps", type=int, default=30, help="of the U-Net for an image")
    parser.add_argument("--rounds", type=int, default=3, help="0 counts only")
    a = parser.parse_args()
    families = [FAMILIES[name] for name in a.only]
    head = f"| | text encoders, 77 → 248 | U-Net, one step | image of {a.steps} steps |"
    print(f"arithmetic\n\n{head}\n|---|---:|---:|---:|")
    for family in families:
        print(count(family, a.steps), flush=True)
    for family in families:
        print(f"{family.title}: position tables take {table_bytes(family) / 1e6:.2f} MB more")
    if a.rounds:
        print(
            f"\ntime, bfloat16, {torch.get_num_threads()} threads\n\n{head}\n|---|---:|---:|---:|"
        )
        for family in families:
            print(measure(family, a.steps, a.rounds), flush=True)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"peak memory of the process so far: {peak:.1f} GB")


if __name__ == "__main__":
    main()
