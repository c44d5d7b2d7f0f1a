"""The largest families: time and memory to load, lengthen and use models of their shapes.

    python benchmarks/largest.py --out runs/largest

Random weights in float32 with a vocabulary of random words of the same size: a SigLIP 2 SO400M
(256,000 ids) and a MetaCLIP 2 H (901,629). Every step runs in a process of its own; its memory is
the peak that is resident beyond that of the same process with everything imported, pages of mapped
files included. Each is run twice; the second time is reported, when files are in the page cache.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
}
SHAPES: dict[str, dict[str, Any]] = {
    "siglip-2-so400m": {
        "text_config": {
            **SO400M,
            "vocab_size": 256_000,
            "max_position_embeddings": 64,
            "projection_size": 1152,
            "bos_token_id": 3,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
        "vision_config": {**SO400M, "image_size": 384, "patch_size": 14},
    },
    "metaclip-2-h": {
        "projection_dim": 1024,
        "text_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "vocab_size": 901_629,
            "projection_dim": 1024,
            "bos_token_id": 3,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
        "vision_config": {
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "projection_dim": 1024,
        },
    },
}

STEP = """
import json, sys, time, warnings
from pathlib import Path
import torch
import longclip
import longclip.model.pretrained
from longclip.model.convert import convert
from PIL import Image

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

warnings.simplefilter("ignore")
step, source, out = sys.argv[1:]
before, start = resident("VmRSS"), time.perf_counter()
if step == "stretch":
    longclip.save(longclip.stretch(longclip.load(source, dtype=None)), out)
elif step == "convert":
    convert(source, out, "hf", dtype=torch.bfloat16)
else:
    model = longclip.load(source, tower="text" if step == "text tower" else None)
    if step != "load":
        model.encode_text(["a red dog"])
    if step == "image":
        model.encode_image([Image.new("RGB", (640, 480))])
print(json.dumps([time.perf_counter() - start, resident("VmHWM") - before]))
"""
STEPS = ("load", "text", "text tower", "image", "stretch", "convert")


def write_model(name: str, directory: Path) -> None:
    """Write random weights, and a tokenizer of random words."""
    import torch
    import transformers
    from safetensors.torch import save_file

    shape = SHAPES[name]
    config, kind = (
        (transformers.SiglipConfig, transformers.SiglipModel)
        if name.startswith("siglip")
        else (transformers.MetaClip2Config, transformers.MetaClip2Model)
    )
    directory.mkdir(parents=True)
    described = config(**shape)
    with torch.device("meta"):
        model = kind(described)
    described.save_pretrained(directory)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights = {name: torch.empty(size).normal_(std=0.02) for name, size in shapes.items()}
    save_file(weights, directory / "model.safetensors")
    write_tokenizer(shape["text_config"]["vocab_size"], directory)


def write_tokenizer(size: int, directory: Path) -> None:
    """Write a Unigram of so many ids: four special tokens, letters, and words made of them."""
    chance = random.Random(0)
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    pieces = dict.fromkeys([*special, "▁", *"abcdefghijklmnopqrstuvwxyz"])
    while len(pieces) < size:
        word = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9)))
        pieces[chance.choice(["", "▁"]) + word] = None
    scores = [[piece, 0.0 if n < 4 else -chance.uniform(3, 14)] for n, piece in enumerate(pieces)]
    end = {"id": "</s>", "ids": [1], "tokens": ["</s>"]}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": n, "content": token, "special": True}
            | dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
            for n, token in enumerate(special)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {"</s>": end},
        },
        "decoder": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": True,
        },
        "model": {"type": "Unigram", "unk_id": 2, "vocab": scores, "byte_fallback": False},
    }
    (directory / "tokenizer.json").write_text(json.dumps(whole, ensure_ascii=False))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "model_input_names": ["input_ids"]}
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
    )


def measure(step: str, source: Path, out: Path) -> list[float]:
    """Return seconds and bytes of the second run of a step."""
    found: list[float] = []
    for _ in range(2):
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, "-c", STEP, step, str(source), str(out)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(out, ignore_errors=True)
    return found


def main() -> None:
    """Write each model, measure each step, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/largest"))
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    arguments = parser.parse_args()
    print("| model | weights |", " | ".join(STEPS), "|")
    print("|---|---:|" + "---:|" * len(STEPS))
    for name in arguments.models:
        source = arguments.out / name
        shutil.rmtree(source, ignore_errors=True)
        write_model(name, source)
        size = (source / "model.safetensors").stat().st_size
        cells = []
        for step in STEPS:
            seconds, peak = measure(step, source, arguments.out / "made")
            cells.append(f"{seconds:.1f} s, {peak / 1e9:.2f} GB")
            print(f"{name} {step}: {cells[-1]}", file=sys.stderr, flush=True)
        print(f"| {name} | {size / 1e9:.2f} GB |", " | ".join(cells), "|", flush=True)
        shutil.rmtree(source)


if __name__ == "__main__":
    main()
