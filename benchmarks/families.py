"""Other kinds of CLIP: does the method carry over to them?

Three small bases are pre-trained on the same data, alike in size and steps and different in kind:

- clip: causal texts, read at their end, InfoNCE;
- declip: the same with a bias in the text projection, as DeCLIP has it;
- siglip: texts that see themselves whole, always padded and read at the last position, a sigmoid
  loss with a bias (SigLIP's architecture in transformers, and its context of 64 tokens).

Each is measured as it is, and lengthened and fine-tuned by `direct` and by `paper`, three seeds.
One command makes every row; what was interrupted goes on where it stopped:

    python benchmarks/families.py --data DATA --out runs/families

DATA holds flickr8k/{train,test}.parquet, nlvr/{train,test}.parquet and cifar10/test.parquet.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import longclip
from longclip.data import open_collection
from longclip.evaluation import evaluate
from longclip.image.preprocess import Preprocess
from longclip.model.architectures import ARCHITECTURES
from longclip.text.tokenizer_files import write_tokenizer_files
from longclip.training import TrainConfig, train
from longclip.training.recipes import clip, direct, paper
from longclip.util.files import write_text
from longclip.util.hardware import fast_dtype
from longclip.util.terminal import progress_display
from real_photos import _cell, command

SEEDS = (0, 1, 2)
EPOCHS, STEPS = 4, 48
RECIPES = {"direct": direct(), "paper": paper()}
LENGTHS = {"clip": 248, "declip": 248, "siglip": 196}
SCENES = 10_000
TESTS = ("flickr8k/test.parquet", "nlvr/test.parquet", "cifar10/test.parquet")
DRAWN = ("scenes/test", "scenes/test-short")

COLUMNS: dict[str, tuple[str, ...]] = {
    "CIFAR-10": ("cifar10/test.parquet", "zero_shot", "label", "top1"),
    "Flickr8k short T2I R@10": ("flickr8k/test.parquet", "short", "text_to_image", "R@10"),
    "Flickr8k short I2T R@10": ("flickr8k/test.parquet", "short", "image_to_text", "R@10"),
    "NLVR short T2I": ("nlvr/test.parquet", "short", "text_to_image", "R@1"),
    "NLVR short I2T": ("nlvr/test.parquet", "short", "image_to_text", "R@1"),
    "NLVR long T2I": ("nlvr/test.parquet", "long", "text_to_image", "R@1"),
    "NLVR long I2T": ("nlvr/test.parquet", "long", "image_to_text", "R@1"),
    "scenes long T2I": ("scenes/test", "long", "text_to_image", "R@1"),
    "scenes long I2T": ("scenes/test", "long", "image_to_text", "R@1"),
    "scenes short T2I": ("scenes/test-short", "short", "text_to_image", "R@1"),
    "scenes short I2T": ("scenes/test-short", "short", "image_to_text", "R@1"),
}


def write_mixture(data: Path, out: Path) -> str:
    """Write the training data of every run: photos and drawings, as many of these as of both."""
    sources = [
        {"data": str((data / "flickr8k/train.parquet").resolve())},
        {"data": str((data / "nlvr/train.parquet").resolve())},
        {"data": "scenes/train", "limit": SCENES},
    ]
    lines = []
    for source in sources:
        lines += ["[[source]]", *(f"{key} = {json.dumps(value)}" for key, value in source.items())]
    write_text(out / "mixture.toml", "\n".join(lines) + "\n")
    return str(out / "mixture.toml")


def write_shape(kind: str, out: Path) -> str:
    """Return the architecture of a base: the name of one, or a config.json that is written."""
    nano = ARCHITECTURES["nano"]
    assert nano.text
    if kind == "clip":
        return "nano"
    if kind == "declip":
        config = dataclasses.replace(nano, text_projection_bias=True).to_json()
    else:
        tower = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
        tower |= {"num_hidden_layers": 4}
        text = {**tower, "vocab_size": nano.text.vocab_size}
        # CLIP's tokenizer, so that all three read the same tokens.
        text |= {"max_position_embeddings": 64, "pad_token_id": nano.text.pad_token_id}
        vision: dict[str, Any] = {**tower, "image_size": 96, "patch_size": 12}
        config = {"model_type": "siglip", "text_config": text, "vision_config": vision}
        write_tokenizer_files(out / kind, text["max_position_embeddings"])
        # Nor may pictures differ: SigLIP's own are made otherwise.
        pictures = Preprocess(image_size=vision["image_size"]).to_json()
        write_text(out / kind / "preprocessor_config.json", json.dumps(pictures, indent=2) + "\n")
    write_text(out / kind / "config.json", json.dumps(config, indent=2) + "\n")
    return str(out / kind / "config.json")


def configurations(data: Path, out: Path, kinds: list[str]) -> Iterator[tuple[str, TrainConfig]]:
    """Yield the base of each kind, then each recipe with each seed."""
    mixture = (write_mixture(data, out),)
    for kind in kinds:
        shape = write_shape(kind, out)
        base = dataclasses.replace(
            clip(),
            scratch=shape,
            data=mixture,
            epochs=EPOCHS,
            # A sigmoid loss where the model has a bias for it.
            short_loss="auto",
            out=out / f"{kind}-base",
        )
        yield f"{kind} base", base
        for name, recipe in RECIPES.items():
            for seed in SEEDS:
                tuned = dataclasses.replace(
                    recipe,
                    model=str(out / f"{kind}-base" / "model"),
                    data=mixture,
                    context_length=LENGTHS[kind],
                    # As in the ablation: a small model in so few steps takes a higher rate.
                    steps=STEPS,
                    batch_size=128,
                    lr=5e-4,
                    seed=seed,
                    out=out / f"{kind}-{name}-{seed}",
                )
                yield f"{kind} {name}", tuned


def run(data: Path, out: Path, kinds: list[str]) -> None:
    """Train and measure whatever is not there yet."""
    for name, config in configurations(data, out, kinds):
        print(command(config), flush=True)
        if not (config.out / "model").exists():
            with progress_display() as progress:
                train(
                    config,
                    resume=(config.out / "config.json").exists(),
                    on_step=lambda n, of, note, name=name: progress(name, n, of, note),
                )
        measure(config.out / "model", config.out / "eval.json", data)


def measure(model: Path, result: Path, data: Path) -> None:
    """Evaluate on every test set, once."""
    if result.exists():
        return
    encoder = longclip.load(model, dtype=fast_dtype())
    with progress_display() as progress:
        results = {
            name: evaluate(
                encoder,
                open_collection(name if name in DRAWN else data / name),
                name=str(model),
                on_progress=progress,
            ).to_json()
            for name in (*TESTS, *DRAWN)
        }
    write_text(result, json.dumps(results, indent=2) + "\n")


def table(out: Path, kinds: list[str]) -> str:
    """Return all numbers in Markdown, mean ± standard deviation over seeds, in percent."""
    lines = ["| model | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for kind in kinds:
        for name in ("base", *RECIPES):
            runs = [f"{kind}-{name}"] if name == "base" else [f"{kind}-{name}-{s}" for s in SEEDS]
            results = [json.loads((out / run / "eval.json").read_text()) for run in runs]
            cells = [_cell([_at(r, place) for r in results], 100) for place in COLUMNS.values()]
            lines.append(f"| {kind} {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _at(result: Any, place: tuple[str, ...]) -> float:
    for key in place:
        result = result.get(key) if isinstance(result, dict) else None
        if result is None:
            return float("nan")
    return float(result)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/families"), help="where runs are")
    parser.add_argument("--kinds", nargs="+", choices=list(LENGTHS), default=list(LENGTHS))
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 for its default")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run(arguments.data, arguments.out, arguments.kinds)
    result = table(arguments.out, arguments.kinds)
    write_text(arguments.out / "table.md", result + "\n")
    print(result)


if __name__ == "__main__":
    main()
