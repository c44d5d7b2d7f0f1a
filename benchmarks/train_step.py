"""What a training step on a CPU gains from leaving three things out (FLOPs stay the same).

Compares, in interleaved processes on the same step:

- ours: plain attention where bfloat16 needs a gradient, freed memory kept by the process
- fused attention: torch's own kernel everywhere
- memory returned: glibc's default, which hands large blocks back after every use
- lookup per micro-batch: each micro-batch of texts writes the gradient of the whole vocabulary

    python benchmarks/train_step.py --architecture small --batch-size 128
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

VARIANTS = ("ours", "fused attention", "memory returned", "lookup per micro-batch")


def measure(variant: str, architecture: str, batch_size: int, tokens: int, steps: int) -> float:
    """Seconds of a step, median over `steps`, in this process."""
    import torch
    from torch.nn import functional as F

    from longclip.model import CLIP, transformer
    from longclip.model.architectures import ARCHITECTURES
    from longclip.model.stretch import stretch
    from longclip.model.text_tower import TextEmbeddings
    from longclip.objectives import long_clip_loss
    from longclip.training.memory import keep_freed_memory
    from longclip.training.optimizer import make_optimizer
    from longclip.training.recipes import paper

    if variant != "memory returned":
        keep_freed_memory()
    if variant == "fused attention":
        transformer.attend = lambda q, k, v, *, causal=False, visible=None: (
            F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal)
        )
    if variant == "lookup per micro-batch":
        TextEmbeddings.used_words = lambda self, ids: (None, ids)  # type: ignore[method-assign]
    torch.manual_seed(0)
    model = stretch(CLIP(ARCHITECTURES[architecture])).train()
    optimizer = make_optimizer(model, paper())
    size = model.config.vision.image_size
    pixels = torch.randn(batch_size, 3, size, size)
    # As many different tokens as the texts of such a batch have.
    long = torch.randint(0, 2000, (batch_size, tokens))
    short = torch.randint(0, 2000, (batch_size, 16))
    long[:, -1] = short[:, -1] = 49407
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            features = (
                model.image_features(pixels),
                model.text_features(long),
                model.text_features(short),
            )
        long_clip_loss(*features, model.logit_scale.exp()).total.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def main() -> None:
    """Run all variants, interleaved, and print seconds and ratios."""
    parser = argparse.ArgumentParser(description="Training-step times on a CPU.")
    parser.add_argument("--architecture", default="small")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128, help="length of the long texts")
    parser.add_argument("--steps", type=int, default=3, help="steps per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.variant:
        print(json.dumps(measure(a.variant, a.architecture, a.batch_size, a.tokens, a.steps)))
        return
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(a.rounds):
        for variant in VARIANTS:
            command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
            result = subprocess.run(
                command, check=True, capture_output=True, text=True, env=os.environ
            )
            found[variant].append(float(result.stdout.splitlines()[-1]))
    best = {variant: min(values) for variant, values in found.items()}
    print(f"{a.architecture}, batch {a.batch_size}, {a.tokens} tokens; best of {a.rounds} rounds")
    for variant, seconds in best.items():
        print(f"{variant:22} {seconds:7.3f} s   {seconds / best['ours']:.2f} × ours")


if __name__ == "__main__":
    main()
